"""ModelClient over HTTP/1.1: aiohttp with one pool of kept-alive connections.

A server may close an idle connection at the very moment a request goes out on it. That says nothing
about the endpoint, so the call is then made once more. aiohttp does this for GET and its like only;
here it is safe for POST too: no byte of an answer came, and generating twice does no harm. A fresh
connection that breaks, or one that breaks later, is the endpoint's doing and is reported.
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from batch_gateway.adapters.tls import TlsContexts
from batch_gateway.core import engine_response
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.routing import Tls
from batch_gateway.ports.model_client import (
    CallFailed,
    CallRefused,
    CallTimeout,
    CallTooLong,
    ModelResponse,
)

MAX_ANSWER_BYTES = 64 * 1024 * 1024
CONNECT_TIMEOUT_S = 10.0
"""A dead address is recognised long before a model's answer would be overdue."""
IDLE_S = 4.0
"""How long an unused connection is kept. Below the 5 s after which uvicorn, and so vLLM, closes
it: the race above is then rare."""
STALE_WITHIN_S = 1.0
"""A connection that the server gave up breaks as soon as it is used, not after this."""

_NO_ANSWER = "the connection was closed without an answer"
_CUT_OFF = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError)
"""How aiohttp says that a connection ended before the answer began."""

_parse_url = lru_cache(maxsize=64)(URL)
_on_used_connection: ContextVar[bool] = ContextVar("on_used_connection", default=False)


class _Connector(aiohttp.TCPConnector):
    """Tells, per call, whether its connection had carried one before, and uses none again on which
    bytes came that no call had asked for: they would be taken for the next call's answer.

    aiohttp's tracing would tell it too, at a fifth of the client's whole throughput.
    """

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit, keepalive_timeout=IDLE_S)
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        _on_used_connection.set(False)
        connection = await super().connect(req, traces, timeout)
        while (protocol := connection.protocol) is not None and (
            protocol in self._used and protocol.should_close
        ):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        if protocol is not None:
            _on_used_connection.set(protocol in self._used)
            self._used.add(protocol)
        return connection


class HttpModelClient:
    def __init__(
        self,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        connections: int = 0,
    ) -> None:
        """``connections``: most connections at once, 0 for any number (slots bound the calls)."""
        self._max_answer_bytes = max_answer_bytes
        self._connections = connections
        self._contexts = TlsContexts()
        self._session: aiohttp.ClientSession | None = None  # made in the event loop it serves

    async def call(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout: timedelta,
        tls: Tls | None = None,
    ) -> ModelResponse:
        clock = asyncio.get_running_loop().time
        began = clock()
        timeout_s = timeout.total_seconds()
        secured = self._secured(url, tls)
        try:
            return await self._attempt(url, body, headers, timeout_s, secured)
        except _CUT_OFF as error:
            lost_s = clock() - began
            if not _on_used_connection.get() or lost_s > STALE_WITHIN_S:
                raise CallFailed(_NO_ANSWER) from error
        try:
            return await self._attempt(url, body, headers, timeout_s - lost_s, secured)
        except _CUT_OFF as error:
            raise CallFailed(_NO_ANSWER) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _secured(self, url: str, tls: Tls | None) -> ssl.SSLContext | Literal[True]:
        """How the connection is secured. Raises CallRefused when its files cannot be used."""
        try:
            return self._contexts.to(url, tls)
        except Unavailable as error:
            raise CallRefused(str(error)) from error

    async def _attempt(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        secured: ssl.SSLContext | Literal[True],
    ) -> ModelResponse:
        """Call once. The errors of ``_CUT_OFF`` pass through."""
        if timeout_s <= 0:  # aiohttp takes 0 for "for ever"
            raise CallTimeout("no time was left for the call")
        try:
            async with self._open().post(
                _parse_url(url),
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
                allow_redirects=False,
                ssl=secured,
            ) as response:
                return _answer(response, await self._read(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise CallRefused(f"cannot connect: {error}") from error
        except TimeoutError as error:
            raise CallTimeout(f"no complete answer within {timeout_s:.1f} s") from error
        except _CUT_OFF:
            raise
        except CallFailed:
            raise
        except Exception as error:  # the client library's own, at an answer that it did not expect
            reason = (
                engine_response.header(str(error), engine_response.SHOWN) or type(error).__name__
            )
            raise CallFailed(f"the call broke: {reason}") from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body. Raises CallTooLong as soon as it is longer than allowed."""
        chunks: list[bytes] = []
        size = 0
        while chunk := await response.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_answer_bytes:
                raise CallTooLong(f"the answer is longer than {self._max_answer_bytes} bytes")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=self._connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Content-Type": "application/json", "User-Agent": "batch-gateway"},
            )
        return self._session


def _answer(response: aiohttp.ClientResponse, body: bytes) -> ModelResponse:
    headers = response.headers
    return ModelResponse(
        status=response.status,
        body=body,
        request_id=engine_response.header(headers.get("x-request-id")),
        retry_after=engine_response.retry_after(headers.get("retry-after"), now=datetime.now(UTC)),
        leads_to=engine_response.location(headers.get("location")),
        first_token_ms=engine_response.first_token_ms(headers.get("server-timing")),
    )
