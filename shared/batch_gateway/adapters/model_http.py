"""ModelClient over HTTP/1.1, with kept-alive connections.

A server may close an idle connection at the very moment a request goes out on it. That says nothing
about the endpoint, so the call is then made once more on a fresh one, for POST too: no byte of an
answer came, and generating twice does no harm. A fresh connection that breaks, or one that breaks
later, is the endpoint's doing and is reported.

It is written on asyncio's protocols and httptools because calls are most of an executor's work:
with a general client (aiohttp), an executor takes twice the processor time for each request.
"""

import asyncio
import base64
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

from batch_gateway.adapters.answer_budget import AnswerBudget
from batch_gateway.adapters.http_connection import HttpResponse, NoAnswer
from batch_gateway.adapters.http_connections import HttpConnections, Origin
from batch_gateway.adapters.tls import TlsContexts
from batch_gateway.core import engine_values
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.routing import TlsOptions
from batch_gateway.ports.model_client import CallFailed, CallRefused, CallTimeout, ModelResponse

MAX_ANSWER_BYTES = 64 * 1024 * 1024
STALE_WITHIN_S = 1.0
"""A connection that the server gave up breaks as soon as it is used, not after this."""

_USUAL = {
    "accept": "*/*",
    "accept-encoding": "gzip, deflate",
    "content-type": "application/json",
    "user-agent": "batch-gateway",
}
_OURS = frozenset({"connection", "content-length", "transfer-encoding"})
"""Headers that say where a request ends: none but this module's."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_PLAIN = "/:?#[]@!$&'()*+,;=%~"  # of a URL, what is no reason to quote it


class HttpModelClient:
    def __init__(
        self, *, budget: AnswerBudget | None = None, max_answer_bytes: int = MAX_ANSWER_BYTES
    ) -> None:
        """``budget``: of all answers that are being read; None: two of ``max_answer_bytes``."""
        self._contexts = TlsContexts()
        self.budget = budget or AnswerBudget(2 * max_answer_bytes)
        self._connections = HttpConnections(max_answer_bytes, self.budget)

    @property
    def idle_connections(self) -> int:
        return self._connections.idle

    async def call(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout: timedelta,
        tls: TlsOptions | None = None,
    ) -> ModelResponse:
        clock = asyncio.get_running_loop().time
        began = clock()
        deadline = began + timeout.total_seconds()
        if deadline <= began:
            raise CallTimeout("no time was left for the call")
        context = self._secured(url, tls)
        try:
            target = _target(url)
            sent = _head(target, headers, len(body)) + body
        except ValueError as error:
            raise CallFailed(f"the request cannot be sent: {error}") from error
        try:
            connection = await self._connections.take(target.origin, context, deadline, fresh=False)
            used = connection.used
            try:
                answer = await connection.request(sent, deadline)
            except NoAnswer:
                if not used or clock() - began > STALE_WITHIN_S:
                    raise
                connection = await self._connections.take(
                    target.origin, context, deadline, fresh=True
                )
                answer = await connection.request(sent, deadline)
        except CallTimeout as error:
            seconds = timeout.total_seconds()
            raise CallTimeout(f"no complete answer within {seconds:.1f} s") from error
        self._connections.give_back(connection)
        return _response(answer)

    async def close(self) -> None:
        self._connections.close()

    def _secured(self, url: str, tls: TlsOptions | None) -> ssl.SSLContext | None:
        """How the connection is secured; None: as usual. Raises CallRefused when its files cannot
        be used."""
        try:
            context = self._contexts.to(url, tls)
        except Unavailable as error:
            raise CallRefused(str(error)) from error
        return None if context is True else context


@dataclass(frozen=True, slots=True)
class _Target:
    """What a URL means for a request."""

    origin: Origin
    start: str  # request line
    host: str
    authorization: str | None  # of a user and password in the URL


@lru_cache(maxsize=256)
def _target(url: str) -> _Target:
    """Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the URL is not http:// or https:// with a host")
    host = parts.hostname
    if not host.isascii():
        host = host.encode("idna").decode()
    secure = parts.scheme == "https"
    usual = 443 if secure else 80
    port = parts.port or usual
    path = quote(parts.path, safe=_PLAIN) or "/"
    query = f"?{quote(parts.query, safe=_PLAIN)}" if parts.query else ""
    shown = f"[{host}]" if ":" in host else host
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return _Target(
        origin=Origin(host, port, secure),
        start=f"POST {path}{query} HTTP/1.1\r\n",
        host=shown if port == usual else f"{shown}:{port}",
        authorization=authorization,
    )


def _head(target: _Target, headers: Mapping[str, str], size: int) -> bytes:
    """Request line and headers. Raises ValueError when a header would be something else."""
    fields = {"host": target.host, **_USUAL}
    if target.authorization is not None:
        fields["authorization"] = target.authorization
    for name, value in headers.items():
        fields[_field_name(name)] = value
    text = target.start + "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    lines = len(fields) + 1
    if text.count("\n") != lines or text.count("\r") != lines or "\0" in text:
        raise ValueError("a header has a line end or a null character")
    return f"{text}content-length: {size}\r\n\r\n".encode()


@lru_cache(maxsize=1024)
def _field_name(name: str) -> str:
    """In lower case. Raises ValueError."""
    if not _NAME.fullmatch(name) or name.lower() in _OURS:
        raise ValueError(f"{name!r} is not a header that a call may have")
    return name.lower()


def _response(answer: HttpResponse) -> ModelResponse:
    headers = answer.headers
    pause = headers.get("retry-after")
    return ModelResponse(
        status=answer.status,
        body=answer.body,
        request_id=engine_values.header(headers.get("x-request-id")),
        retry_after=None
        if pause is None
        else engine_values.retry_after(pause, now=datetime.now(UTC)),
        leads_to=engine_values.location(headers.get("location")),
        first_token_ms=engine_values.first_token_ms(headers.get("server-timing")),
    )
