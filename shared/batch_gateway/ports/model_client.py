"""Calls of the model."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

import msgspec

from batch_gateway.core.routing import TlsOptions


class ModelResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint's response, of any status; all but the body is bounded by its adapter."""

    status: int
    body: bytes
    request_id: str | None  # x-request-id of the answer, None when absent
    retry_after: timedelta | None  # Retry-After of the answer, None when absent or unreadable
    leads_to: str | None = None  # Location of the answer, without user and query; None when absent
    first_token_ms: int | None = None  # ``ttft`` of its Server-Timing; None when absent


class ModelClient(Protocol):
    async def call(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout: timedelta,
        tls: TlsOptions | None = None,
    ) -> ModelResponse:
        """POST ``body`` as it is (JSON); ``tls`` None: the system's authorities, no certificate.

        Raises CallTimeout when there is no complete answer in time, CallRefused when the
        connection cannot be made, CallTooLong when the answer is longer than is kept in memory,
        CallFailed when it breaks or is not HTTP; nothing else, whatever the endpoint sends.
        Cancelling closes the connection, so the engine stops generating.
        """
        ...

    async def close(self) -> None: ...


class CallFailed(Exception):
    """No answer: refused, reset, cut off, or not HTTP."""


class CallTimeout(CallFailed):
    """No complete answer in time."""


class CallRefused(CallFailed):
    """The connection could not be made: the endpoint did not receive the request."""


class CallTooLong(CallFailed):
    """The answer is longer than a result may be."""
