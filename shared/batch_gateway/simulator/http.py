"""The simulator's HTTP/1.1 server: one protocol object per connection, no tasks, no routing.

An application server costs more than the simulated engine does, and on two cores the benchmarks
would then measure it. httptools parses; an exchange is handed to the handler as soon as its body
is complete and is answered by calling ``reply`` on it, at once or later. A closed connection is
told to the exchange, so that the engine can stop.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, MutableSet
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qs

import httptools

from batch_gateway.simulator.hostile import DRIP_S, ConnectionEnding, HostileAnswer

logger = logging.getLogger(__name__)

Headers = tuple[tuple[str, str], ...]
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class HttpRequest:
    """One request and its answer."""

    __slots__ = (
        "_connection",
        "_keep_alive",
        "body",
        "disconnected",
        "headers",
        "method",
        "path",
        "query",
    )

    def __init__(
        self,
        connection: "SimulatorConnection",
        *,
        method: str,
        url: bytes,
        headers: dict[str, str],
        body: bytes,
        keep_alive: bool,
    ) -> None:
        path, _, query = url.decode("latin-1").partition("?")
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers  # names in lower case
        self.body = body
        self.disconnected: Callable[[], None] | None = None  # called when the client hangs up
        self._keep_alive = keep_alive
        self._connection = connection

    def parameter(self, name: str, default: str) -> str:
        """A query parameter; the last one of several."""
        return parse_qs(self.query).get(name, [default])[-1]

    def reply(
        self,
        status: int,
        body: bytes,
        headers: Headers = (),
        *,
        content_type: str = "application/json",
    ) -> None:
        """Answer, and continue with the connection's next request."""
        self._connection.write(self._answer(status, body, headers, content_type))
        self._end()

    def reply_half(self, status: int, body: bytes, headers: Headers = ()) -> None:
        """Break off in the middle of the body."""
        answer = self._answer(status, body, headers, "application/json")
        self._connection.write(answer[: len(answer) - len(body) // 2 - 1])
        self.drop()

    def reply_hostile(self, answer: HostileAnswer, *, ended: Callable[[], None]) -> None:
        """Send bytes as they are. ``ended`` is called when no more follows, unless the client
        leaves before."""
        self._connection.write(answer.wire)
        match answer.then:
            case ConnectionEnding.KEEP:
                ended()
                self._end()
            case ConnectionEnding.CLOSE:
                ended()
                self.drop()
            case ConnectionEnding.HOLD:
                pass
            case ConnectionEnding.DRIP:
                self._drip(answer.drop)

    def _drip(self, drop: bytes) -> None:
        """Send ``drop`` again and again until the client leaves."""
        if self.disconnected is not None and self._connection.open:
            self._connection.write(drop)
            asyncio.get_running_loop().call_later(DRIP_S, self._drip, drop)

    def begin_stream(self, headers: Headers = ()) -> None:
        """Begin an answer of server-sent events; continue with ``send`` and ``end_stream``."""
        head = self._head(200, headers, "text/event-stream; charset=utf-8")
        self._connection.write(b"%btransfer-encoding: chunked\r\n\r\n" % head)

    def send(self, chunk: bytes) -> None:
        self._connection.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def end_stream(self) -> None:
        self._connection.write(b"0\r\n\r\n")
        self._end()

    def drop(self) -> None:
        """Close the connection without (more of) an answer."""
        self.disconnected = None
        self._connection.close()

    def _answer(self, status: int, body: bytes, headers: Headers, content_type: str) -> bytes:
        head = self._head(status, headers, content_type)
        return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)

    def _head(self, status: int, headers: Headers, content_type: str) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        if not self._keep_alive:
            lines += "connection: close\r\n"
        return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n%b" % (
            status,
            _REASONS.get(status, b""),
            content_type.encode(),
            lines.encode("latin-1"),
        )

    def _end(self) -> None:
        self.disconnected = None
        self._connection.answered(close=not self._keep_alive)


Handler = Callable[[HttpRequest], None]


class SimulatorConnection(asyncio.Protocol):
    """Requests of one connection, answered one after the other (pipelined ones wait)."""

    def __init__(self, handler: Handler, connections: MutableSet["SimulatorConnection"]) -> None:
        self._handler = handler
        self._connections = connections  # those that are open
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._arrived: deque[HttpRequest] = deque()
        self._current: HttpRequest | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            logger.warning("a request is not HTTP: %s", error)
            self.close()
            return
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self._connections.discard(self)
        self._arrived.clear()
        current, self._current = self._current, None
        if current is not None and current.disconnected is not None:
            current.disconnected()

    # httptools' side

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._body = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        exchange = HttpRequest(
            self,
            method=self._parser.get_method().decode("latin-1"),
            url=self._url,
            headers=self._headers,
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
            keep_alive=self._parser.should_keep_alive(),
        )
        self._arrived.append(exchange)

    # the exchanges' side

    @property
    def open(self) -> bool:
        return self._transport is not None

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def answered(self, *, close: bool) -> None:
        self._current = None
        if close:
            self.close()
        elif self._arrived:
            asyncio.get_running_loop().call_soon(self._next)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _next(self) -> None:
        """Handle the next request, unless one is being handled."""
        if self._current is not None or not self._arrived or self._transport is None:
            return
        exchange = self._current = self._arrived.popleft()
        try:
            self._handler(exchange)
        except Exception:  # a bug in a handler must not leave the client waiting
            logger.exception("the simulator failed at %s %s", exchange.method, exchange.path)
            exchange.reply(500, b'{"error": {"message": "The simulator failed; see its log."}}')
