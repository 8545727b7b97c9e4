"""A connection from the activator to one replica: sends a request, parses the response.

What it receives goes to its present request, call by call, without a buffer of its own:
a side that cannot write pauses the reading of the other side.
"""

import asyncio
from typing import Protocol, cast

import httptools

from batch_gateway.local.http1 import Headers

#: Bytes that may wait in a socket's send buffer before the other side's reading stops.
SEND_BUFFER = 1024 * 1024


class ResponseReceiver(Protocol):
    """Receives the response of a connection."""

    def informed(self, status: int, reason: bytes, headers: Headers) -> None: ...
    def answer_begins(self, status: int, reason: bytes, headers: Headers) -> None: ...
    def answer_continues(self, data: bytes) -> None: ...
    def answer_ends(self, *, reusable: bool) -> None: ...
    def answer_lost(self, *, orderly: bool) -> None: ...
    def upstream_full(self) -> None: ...
    def upstream_drained(self) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._exchange: ResponseReceiver | None = None
        self._head_only = False
        self._reset()

    def serve(self, exchange: ResponseReceiver, *, head_only: bool) -> None:
        """Hand what comes to ``exchange``; ``head_only``: answers to HEAD carry no body."""
        self._exchange = exchange
        self._head_only = head_only
        self._parser = httptools.HttpResponseParser(self)
        self._reset()

    @property
    def open(self) -> bool:
        return not self._transport.is_closing()

    @property
    def reusable(self) -> bool:
        """Whether nothing of the last request is left in it."""
        return self.open and self._transport.get_write_buffer_size() == 0

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def pause(self) -> None:
        if self.open:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self.open:
            self._transport.resume_reading()

    def close(self) -> None:
        """Break the connection; the replica reads the end of the connection."""
        self._exchange = None
        self._transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=SEND_BUFFER)

    def connection_lost(self, error: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.answer_lost(orderly=error is None)

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:  # no request is open: the server sends unasked
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a fault of ours, not the replica's
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            exchange, self._exchange = self._exchange, None
            self._transport.abort()
            if exchange is not None:
                exchange.answer_lost(orderly=False)

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.upstream_full()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.upstream_drained()

    # the parser's side

    def _reset(self) -> None:
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_body = False

    def on_message_begin(self) -> None:
        self._reset()

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # trailers are not passed on
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        exchange, status = self._exchange, self._parser.get_status_code()
        if exchange is None:
            return
        if 100 <= status < 200:
            exchange.informed(status, self._reason, self._headers)
            return
        self._in_body = True
        exchange.answer_begins(status, self._reason, self._headers)
        if self._head_only:
            self._end(reusable=False)  # the parser waits for a body that never comes

    def on_body(self, data: bytes) -> None:
        if self._exchange is not None:
            self._exchange.answer_continues(data)

    def on_message_complete(self) -> None:
        if self._in_body:
            self._end(reusable=self._parser.should_keep_alive())

    def _end(self, *, reusable: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.answer_ends(reusable=reusable)
