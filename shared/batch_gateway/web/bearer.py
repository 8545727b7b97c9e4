"""Bearer tokens of requests, and OpenAI's 401 responses."""

from starlette.datastructures import Headers

from batch_gateway.core.api_keys import masked
from batch_gateway.web.envelope import ApiError


def bearer(headers: Headers) -> str:
    """What the client presents as its API key. Raises ApiError when that is nothing."""
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not (given := credentials.strip()):
        raise unauthenticated(
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            code=None,
        )
    return given


def incorrect(given: str) -> ApiError:
    return unauthenticated(f"Incorrect API key provided: {masked(given)}.", code="invalid_api_key")


def unauthenticated(message: str, *, code: str | None) -> ApiError:
    return ApiError(
        401,
        message,
        type_="invalid_request_error",
        code=code,
        headers={"WWW-Authenticate": "Bearer"},
    )
