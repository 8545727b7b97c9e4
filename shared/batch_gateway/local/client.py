"""A client connection to the activator: parses requests and answers them in order.

The parser sees every byte, so requests are told apart by one strict implementation (llhttp) and
never by a replica. Pipelined requests are not served: the connection closes after the answer, and
HTTP/1.1 has the client send them again (RFC 9112, 9.3.2).
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from batch_gateway.local import http1
from batch_gateway.local.proxied_request import ProxiedRequest
from batch_gateway.local.revision import Revision
from batch_gateway.local.upstream import SEND_BUFFER

_HEAD_LIMIT = 64 * 1024  # bytes of request line and headers
_IDLE_S = 120.0  # a connection on which no request comes

#: Host header (empty if absent) -> the Service's replicas; None: no such host.
Route = Callable[[str], Revision | None]


class ClientConnection(asyncio.Protocol):
    def __init__(
        self, route: Route, tasks: asyncio.TaskGroup, connections: set["ClientConnection"]
    ) -> None:
        self._route = route
        self._tasks = tasks
        self._connections = connections
        self._transport: asyncio.Transport
        self._idle_timer: asyncio.TimerHandle | None = None
        self._exchange: ProxiedRequest | None = None
        self._full = False
        self._deaf = False  # what still comes in is thrown away
        self._pipelined = False
        self._parser = httptools.HttpRequestParser(self)
        self.on_message_begin()

    # the exchange's side

    @property
    def full(self) -> bool:
        return self._full

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def pause(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        self._transport.abort()

    def exchange_ended(self, *, close: bool) -> None:
        self._exchange = None
        if close or self._pipelined:
            self._deaf = True
            self._transport.close()
        else:
            self._await_request()

    @property
    def busy(self) -> bool:
        return self._exchange is not None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=SEND_BUFFER)
        self._connections.add(self)
        self._await_request()

    def connection_lost(self, _error: Exception | None) -> None:
        self._connections.discard(self)
        self._stop_idling()
        self._deaf = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_lost()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a fault of ours, not the client's
        except httptools.HttpParserUpgrade:
            self._refuse(501, "Not Implemented", "protocol upgrades are not supported")
        except httptools.HttpParserError as error:
            self._refuse(400, "Bad Request", f"malformed request: {error}")
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_LIMIT:
                self._refuse(431, "Request Header Fields Too Large", "the headers are too large")

    def pause_writing(self) -> None:
        self._full = True
        if self._exchange is not None:
            self._exchange.client_full()

    def resume_writing(self) -> None:
        self._full = False
        if self._exchange is not None:
            self._exchange.client_drained()

    # the parser's side

    def on_message_begin(self) -> None:
        if self._exchange is not None:
            self._pipelined = True
            return
        self._in_head = True
        self._head_bytes = 0
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        if not self._pipelined:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers are not passed on
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._pipelined or self._deaf:
            return
        self._in_head = False
        self._stop_idling()
        if self._parser.should_upgrade():
            return  # the parser raises next
        try:
            framing = http1.framing(self._headers)
        except http1.UnsupportedCoding as error:
            self._refuse(501, "Not Implemented", f"unsupported transfer coding: {error}")
            return
        host = http1.header(self._headers, b"host") or b""
        revision = self._route(host.decode("latin-1"))
        if revision is None:
            self._refuse(404, "Not Found", "no such host")
            return
        http10 = self._parser.get_http_version() == "1.0"
        self._exchange = ProxiedRequest(
            self,
            revision,
            method=self._parser.get_method(),
            target=self._target,
            headers=self._headers,
            framing=framing,
            keep_alive=self._parser.should_keep_alive() and not http10,
            http10=http10,
        )
        self._exchange.begin(self._tasks)

    def on_body(self, data: bytes) -> None:
        if self._exchange is not None and not self._pipelined:
            self._exchange.request_continues(data)

    def on_message_complete(self) -> None:
        if self._exchange is not None and not self._pipelined:
            self._exchange.request_ends()

    def _refuse(self, status: int, reason: str, text: str) -> None:
        """Answer a request that cannot be served, and close."""
        if self._deaf:
            return
        self._deaf = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:  # its body has turned out malformed
            exchange.client_lost()
            self._transport.abort()
            return
        self.write(http1.plain_answer(status, reason, text, close=True))
        self._transport.close()

    def _await_request(self) -> None:
        self._idle_timer = asyncio.get_running_loop().call_later(_IDLE_S, self._transport.abort)

    def _stop_idling(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
