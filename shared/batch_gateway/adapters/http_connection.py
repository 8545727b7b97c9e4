"""A client's connection over HTTP/1.1: one request and its answer at a time.

What comes is untrusted. Everything that is kept of an answer is bounded: its head, its body, and
the headers that are kept at all. An answer that is not HTTP, is cut off or is too long fails the
request; bytes that no request asked for end the connection, because they would be taken for the
next request's answer.
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import cast

import httptools

from batch_gateway.adapters.answer_budget import AnswerBudget
from batch_gateway.core import engine_values
from batch_gateway.core.engine_response import excerpt
from batch_gateway.ports.model_client import CallFailed, CallTimeout, CallTooLong

MOST_HEAD_BYTES = 64 * 1024
"""Of an answer, its status line and headers together."""

_MOST_FRAMING = 1024 * 1024
"""Bytes around a body, beside as many as the body has: chunks of one byte have five times as many,
and each costs as much time as a large one."""
_SHOWN = 60  # characters of what is not HTTP
_SLICE = 16 * 1024  # bytes of a compressed body that are unpacked in one step
_MOST_MEMBERS = 4096  # of a gzip body; a usual compressor makes one for at least 16 KiB

_KEPT = {
    name.encode(): name
    for name in (
        *("content-encoding", "content-length", "transfer-encoding"),
        *("x-request-id", "retry-after", "location", "server-timing"),
    )
}


class NoAnswer(CallFailed):
    """The connection was closed before a byte of the answer came."""

    def __init__(self) -> None:
        super().__init__("the connection was closed without an answer")


class HttpResponse:
    """A whole answer."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """``headers``: those of ``_KEPT``, by their names in lower case; the first of several.
        Bytes that are not UTF-8 are lone surrogates."""
        self.status = status
        self.headers = headers
        self.body = body


class HttpConnection(asyncio.Protocol):
    """``lost`` is called once, when the connection is closed."""

    def __init__(
        self, most_bytes: int, budget: AnswerBudget, lost: Callable[["HttpConnection"], None]
    ) -> None:
        """``most_bytes``: of an answer's body, packed and unpacked; ``budget``: of all answers."""
        self.used = False  # it has carried an answer
        self.idle_since = 0.0  # loop.time()
        self._most_bytes = most_bytes
        self._budget = budget
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = _parser(self)
        self._keep_alive = True
        self._answer: asyncio.Future[HttpResponse] | None = None  # None: nothing was asked
        self._timer: asyncio.TimerHandle | None = None  # of the present request
        self._deadline = 0.0  # loop.time()
        self._paused_at: float | None = None  # loop.time(); None: it reads
        self._headers: dict[str, str]
        self._body: bytes | bytearray
        self._begin()

    # -- what the client does -------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._transport is not None

    @property
    def reusable(self) -> bool:
        """The next request may be sent on it."""
        return self._transport is not None and self._keep_alive and self._answer is None

    async def request(self, sent: bytes, deadline: float) -> HttpResponse:
        """Send the bytes of a request, and give its answer.

        Raises CallTimeout at ``deadline`` (``loop.time()``), which is later by as long as reading
        was paused, NoAnswer, CallTooLong, or CallFailed. Unless it returns, the connection is
        closed.
        """
        if self._transport is None:
            raise NoAnswer
        self._begin()
        answer: asyncio.Future[HttpResponse] = self._loop.create_future()
        self._answer = answer
        self._end_at(deadline)
        try:
            self._transport.write(sent)
            whole = await answer
            return await self._plain(whole) if "content-encoding" in whole.headers else whole
        except BaseException:
            self.abort()
            raise
        finally:
            self._stop_timer()

    async def _plain(self, answer: HttpResponse) -> HttpResponse:
        """An answer without its content coding."""
        self._stop_timer()
        await self._budget.room()
        body = _unpacked(answer.body, answer.headers["content-encoding"], self._most_bytes)
        return HttpResponse(answer.status, answer.headers, body)

    def close(self) -> None:
        """Close an idle connection in good order."""
        self._keep_alive = False
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close it at once, whatever is on its way."""
        self._keep_alive = False
        self._budget.done(self)
        if self._transport is not None:
            self._transport.abort()

    # -- calls from the budget ------------------------------------------------------------------

    def pause(self) -> None:
        if self._paused_at is None and self._transport and not self._transport.is_closing():
            self._paused_at = self._loop.time()
            self._transport.pause_reading()

    def resume(self) -> None:
        self._read_on()
        if self._timer is None and self._answer is not None:
            self._end_at(self._deadline)

    def _read_on(self) -> None:
        if self._paused_at is None:
            return
        self._deadline += self._loop.time() - self._paused_at
        self._paused_at = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _end_at(self, deadline: float) -> None:
        self._stop_timer()
        self._deadline = deadline
        self._timer = self._loop.call_at(deadline, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        """The deadline has come; while reading is paused, it waits."""
        self._timer = None
        if self._paused_at is not None:
            return
        if self._loop.time() < self._deadline:  # reading was paused
            self._end_at(self._deadline)
            return
        self._fail(CallTimeout("no complete answer in time"))

    # -- calls from the event loop --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def eof_received(self) -> None:
        self._keep_alive = False  # its end follows

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.abort()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._keep_alive = False
            self._fail(CallFailed("the call broke: the answer switches to another protocol"))
        except httptools.HttpParserError as error:
            self._keep_alive = False
            began = "" if self._status else f"; the answer begins with {excerpt(data, _SHOWN)!r}"
            self._fail(CallFailed(f"the call broke: {_reason(error)}{began}"))
        most = MOST_HEAD_BYTES
        if self._in_body:
            most += _MOST_FRAMING + 2 * len(self._body)
        if self._received > most:
            self._fail(CallFailed("the answer has more bytes around its body than it may have"))
        elif self._answer is not None:
            self._budget.check(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._budget.done(self)
        if self._until_close and exc is None:
            self.on_message_complete()
        self._fail(CallFailed("the answer was cut off") if self._received else NoAnswer())
        self._lost(self)

    # -- what the parser finds ------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._answer is None:  # a second answer to the same request
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:  # after it
            return
        key = _KEPT.get(name.lower())
        if key is not None:
            self._headers.setdefault(key, value.decode(errors="surrogateescape"))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._interim = True
            return
        self._status = status
        self._in_body = True
        coding = self._headers.get("transfer-encoding", "")
        chunked = coding.rpartition(",")[2].strip().lower() == "chunked"
        self._until_close = not chunked and "content-length" not in self._headers

    def on_body(self, body: bytes) -> None:
        if len(self._body) + len(body) > self._most_bytes:
            self._fail(_too_long(self._most_bytes))
        elif self._body:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += body
        else:
            self._body = body
        if self._answer is not None:
            self._budget.add(self, len(body))

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self._headers = {}
            return
        self._until_close = False
        answer = self._answer
        if answer is None or answer.done():
            return
        if not self._parser.should_keep_alive() or (
            self._transport is not None and self._transport.get_write_buffer_size()
        ):
            self._keep_alive = False  # or the request is still on its way
        body = bytes(self._body)
        self.used = True
        self._answer, self._body = None, b""
        answer.set_result(HttpResponse(self._status, self._headers, body))
        self._read_on()
        self._budget.done(self)

    def _begin(self) -> None:
        self._received = 0  # bytes of the present answer
        self._headers = {}
        self._status = 0
        self._interim = False  # the present head is one that another follows
        self._in_body = False
        self._until_close = False  # the body is as long as the connection lasts
        self._body = b""

    def _fail(self, error: CallFailed) -> None:
        """Answer the request with ``error``, if it waits for its answer, and end the connection."""
        answer, self._answer = self._answer, None
        if answer is not None:
            if not answer.done():
                answer.set_exception(error)
            self.abort()


def _parser(connection: HttpConnection) -> httptools.HttpResponseParser:
    """As lenient as the clients are that engines are written for."""
    parser = httptools.HttpResponseParser(connection)
    parser.set_dangerous_leniencies(
        lenient_headers=True,
        lenient_optional_cr_before_lf=True,
        lenient_spaces_after_chunk_size=True,
    )
    return parser


def _reason(error: Exception) -> str:
    """The message of a parser, which may repeat what came, as text that can be logged."""
    return engine_values.header(str(error), engine_values.SHOWN) or type(error).__name__


def _too_long(most: int) -> CallTooLong:
    return CallTooLong(f"the answer is longer than {most} bytes")


def _unpacked(body: bytes, coding: str, most: int) -> bytes:
    """A body without its content coding. Raises CallTooLong, or CallFailed when it has another."""
    coding = coding.strip().lower()
    if coding in ("", "identity") or not body:
        return body
    if coding in ("gzip", "x-gzip"):
        window = zlib.MAX_WBITS | 16
    elif coding == "deflate":  # with zlib's head or, in spite of the standard, without
        window = zlib.MAX_WBITS if body[0] & 0x0F == 8 else -zlib.MAX_WBITS
    else:
        raise CallFailed(f"the call broke: its content coding {_reason(ValueError(coding))}")
    try:
        return _decompressed(body, window, most)
    except zlib.error as error:
        raise CallFailed(f"the call broke: {_reason(error)}") from error


def _decompressed(body: bytes, window: int, most: int) -> bytes:
    """The members of a compressed body, one after the other. Raises what ``_unpacked`` does, or
    zlib.error.

    It is read in slices: what follows a member is copied, which must not be all the rest for each.
    """
    whole = bytearray()
    at = members = 0
    while at < len(body):
        members += 1
        if members > _MOST_MEMBERS:
            raise CallFailed(f"the call broke: its body has over {_MOST_MEMBERS} compressed parts")
        packed = zlib.decompressobj(window)
        while not packed.eof:
            piece = body[at : at + _SLICE]
            if not piece:
                raise CallFailed("the call broke: its compressed body was cut off")
            whole += packed.decompress(piece, most - len(whole) + 1)
            if len(whole) > most:
                raise _too_long(most)
            at += len(piece) - len(packed.unused_data)
    return bytes(whole)
