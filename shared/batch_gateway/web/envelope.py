"""The error format of the API: OpenAI's ``{"error": {...}}``.

This module maps errors to statuses; an unexpected error is logged and tells the client
nothing.
"""

import logging
from collections.abc import Mapping

from pydantic import BaseModel
from starlette.responses import Response

from batch_gateway.core.errors import (
    LONGEST_MESSAGE,
    CorruptRow,
    InvalidRequest,
    OverQuota,
    StorageFull,
    Temporary,
)
from batch_gateway.core.excerpts import excerpt
from batch_gateway.web.body import BodyTimeout, BodyTooLarge

logger = logging.getLogger(__name__)

#: When to come back after a 503, in seconds. OpenAI's clients give up when told more than 120.
RETRY_AFTER_S = 5


class ErrorObject(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorObject


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type_: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = excerpt(message, LONGEST_MESSAGE)
        super().__init__(self.message)
        self.status = status
        self.type = type_
        self.param = param
        self.code = code
        self.headers = headers

    def response(self) -> Response:
        error = ErrorObject(message=self.message, type=self.type, param=self.param, code=self.code)
        content = ErrorBody(error=error).model_dump_json().encode()
        return Response(content, self.status, self.headers, "application/json")


def over_quota(error: OverQuota) -> ApiError:
    """Files have to be deleted first, so it is a 400; a batch ends by itself, so it is a 429.

    But not so soon that a client should sleep for it: only the user can decide how long to wait.
    """
    if error.name == "open_batches":
        return ApiError(
            429,
            f"You have reached your limit of {error.limit:,} batches that have not ended. Please "
            "try again once some of them have been completed.",
            type_="requests",
            code="open_batches_limit_exceeded",
            headers={"Retry-After": "60", "x-should-retry": "false"},
        )
    unit = "bytes of files" if error.name == "stored_bytes" else "files"
    return ApiError(
        400,
        f"You have exceeded your file storage quota. Tenants are limited to {error.limit:,} "
        f"{unit}.",
        code="file_storage_quota_exceeded",
    )


def storage_full() -> ApiError:
    """507 (RFC 4918): a person makes room, so clients give up at once instead of trying again."""
    return ApiError(
        507,
        "The service has no room to store this. Nothing was stored; please try again later.",
        type_="server_error",
        code="storage_full",
        headers={"Retry-After": "60", "x-should-retry": "false"},
    )


def as_api_error(error: Exception) -> ApiError:
    """The response for ``error``; logs errors that are not the client's."""
    match error:
        case ApiError():
            return error
        case InvalidRequest():
            return ApiError(400, error.message, param=error.param, code=error.code)
        case OverQuota():
            return over_quota(error)
        case BodyTooLarge():
            return ApiError(413, "The request body is too large.")
        case BodyTimeout():
            return ApiError(
                408,
                "The request body did not arrive in time.",
                headers={"Connection": "close"},
            )
        case StorageFull():
            logger.error("A store is full: %s", error, extra={"action": "storage_full"})
            return storage_full()
        case CorruptRow():
            logger.error("%s", error, extra={"action": "corrupt_row", "item": error.id})
            return ApiError(
                500,
                f"The record of {error.kind} {error.id} is damaged and cannot be read. The operator"
                " of this service has to repair it.",
                type_="server_error",
                code="record_damaged",
                headers={"x-should-retry": "false"},
            )
        case Temporary():
            logger.warning("Unavailable: %s", error, extra={"action": "unavailable"})
            return ApiError(
                503,
                "The service is temporarily unavailable. Please try again.",
                type_="server_error",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
    logger.error(
        "A request failed with an unexpected error", exc_info=error, extra={"action": "crash"}
    )
    return ApiError(
        500, "The server had an error while processing your request.", type_="server_error"
    )
