"""Ids in the paths of operators' routes."""

from typing import Any

from batch_gateway.core.excerpts import excerpt
from batch_gateway.web.api.routing import ApiRequest
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.parsing import plain_id


def path_id(call: ApiRequest, name: str) -> str:
    """The path parameter ``name``. Raises ApiError with status 404 for text that is no id."""
    given: Any = call.request.path_params[name]
    if not plain_id(given):
        raise not_found(call, name, "object")
    return str(given)


def not_found(call: ApiRequest, name: str, kind: str) -> ApiError:
    """The error for an object of this ``kind`` that does not exist."""
    return ApiError(404, f"No {kind} found with id '{excerpt(call.request.path_params[name])}'.")
