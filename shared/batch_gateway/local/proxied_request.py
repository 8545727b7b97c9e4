"""Proxies one request to a replica, and its response back.

Bodies are pumped piece by piece in both directions and kept nowhere: a side that cannot take more
stops the other side's reading. The time limits are those of the Service and run from the
request's arrival, so waiting for a replica counts against them, as it does on Knative.

An exchange ends when both the request has come in and the answer has gone out. An answer may come
early (a refused upload): then the rest of the request is read and thrown away for a while, since
closing at once would reset the connection under a client that has not read the answer yet.
"""

import asyncio
from enum import Enum, auto
from typing import Protocol

from batch_gateway.local import http1
from batch_gateway.local.http1 import BodyFraming, Headers
from batch_gateway.local.revision import NoReplicaAvailable, ReplicaSlot, Revision
from batch_gateway.local.upstream import UpstreamConnection

_LINGER_S = 30.0
_CONNECT_TRIES = 3
_BODILESS = {204, 304}


class RequestConnection(Protocol):
    """The connection that a request came in on."""

    @property
    def full(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...
    def exchange_ended(self, *, close: bool) -> None: ...


class _ResponseState(Enum):
    AWAITED = auto()
    BEGUN = auto()
    ENDED = auto()


class ProxiedRequest:
    def __init__(
        self,
        client: RequestConnection,
        revision: Revision,
        *,
        method: bytes,
        target: bytes,
        headers: Headers,
        framing: BodyFraming,
        keep_alive: bool,
        http10: bool,
    ) -> None:
        self._client = client
        self._revision = revision
        self._method = method
        self._path = target.partition(b"?")[0]
        self._framing = framing
        self._head = self._request_head(method, target, headers)
        self._awaits_continue = http1.header(headers, b"expect") is not None
        self._close = not keep_alive
        self._http10 = http10
        self._held: list[bytes] = []  # of the body, before there is a replica to send it to
        self._request_ended = False
        self._answer = _ResponseState.AWAITED
        self._answer_chunked = False
        self._until_close = False
        self._place: ReplicaSlot | None = None
        self._upstream: UpstreamConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        service, loop = self._revision.service, asyncio.get_running_loop()
        self._timers = [
            loop.call_later(service.timeout_s, self._timed_out),
            loop.call_later(service.response_start_timeout_s, self._not_begun_in_time),
        ]
        self._task = tasks.create_task(self._run())
        if not self._revision.service.public:
            self._start_next()

    def _start_next(self) -> None:
        """Start the functions that the request leads to: at once for an event, which the broker has
        taken; a user's request may be refused, so not before it has succeeded."""
        self._revision.start_next(self._method.decode("latin-1"), self._path.decode("latin-1"))

    async def _run(self) -> None:
        """Find a replica and hand the request over; the rest happens as bytes come and go."""
        try:
            place, upstream = await self._connected()
        except NoReplicaAvailable as refusal:
            self._fail(503, "Service Unavailable", str(refusal))
            return
        self._place, self._upstream = place, upstream
        upstream.serve(self, head_only=self._method == b"HEAD")
        if self._client.full:  # of an earlier answer that it has not read yet
            upstream.pause()
        self._client.resume()
        upstream.write(self._head + b"".join(self._held))
        self._held.clear()

    async def _connected(self) -> tuple[ReplicaSlot, UpstreamConnection]:
        """A place in a replica and a connection to it. Raises Refused."""
        for _ in range(_CONNECT_TRIES):
            place = await self._revision.enter()
            try:
                return place, await place.replica.connect()
            except OSError:
                place.replica.abandon()
                place.leave()
            except asyncio.CancelledError:
                place.leave()
                raise
        raise NoReplicaAvailable("no replica accepts connections")

    # what comes from the client

    def request_continues(self, data: bytes) -> None:
        if self._answer is _ResponseState.ENDED:
            return
        self._send(http1.chunk(data) if self._framing is BodyFraming.CHUNKED else data)

    def request_ends(self) -> None:
        self._request_ended = True
        if self._framing is BodyFraming.CHUNKED and self._answer is not _ResponseState.ENDED:
            self._send(http1.LAST_CHUNK)
        self._client.resume()  # nothing more will come; but a client that leaves must be noticed
        if self._answer is _ResponseState.ENDED:
            self._end()

    def client_lost(self) -> None:
        """The client has gone: close the connection to the replica."""
        self._let_go()
        self._stop_timers()

    def client_full(self) -> None:
        if self._upstream is not None:
            self._upstream.pause()

    def client_drained(self) -> None:
        if self._upstream is not None:
            self._upstream.resume()

    def _send(self, data: bytes) -> None:
        if self._upstream is not None:
            self._upstream.write(data)
        else:
            self._held.append(data)
            self._client.pause()

    # what comes from the replica

    def informed(self, status: int, reason: bytes, headers: Headers) -> None:
        self._awaits_continue = False
        if not self._http10:
            line = b"HTTP/1.1 %d %b" % (status, reason)
            self._client.write(http1.head(line, http1.end_to_end(headers)))

    def answer_begins(self, status: int, reason: bytes, headers: Headers) -> None:
        framing = self._answer_framing(headers)
        if framing is None:
            self.answer_lost(orderly=False)
            return
        bodiless = status in _BODILESS or self._method == b"HEAD"
        own = []
        if framing is not BodyFraming.LENGTH and not bodiless:
            if self._http10:
                self._close = True
            else:
                self._answer_chunked = True
                own.append(http1.IN_CHUNKS)
        if not self._request_ended:
            self._close = True
        if self._close:
            own.append(http1.CLOSE)
        if self._revision.service.public and 200 <= status < 300:
            self._start_next()
        self._answer = _ResponseState.BEGUN
        line = b"HTTP/1.1 %d %b" % (status, reason)
        self._client.write(http1.head(line, http1.end_to_end(headers), *own))

    def answer_continues(self, data: bytes) -> None:
        self._client.write(http1.chunk(data) if self._answer_chunked else data)

    def answer_ends(self, *, reusable: bool) -> None:
        if self._answer_chunked:
            self._client.write(http1.LAST_CHUNK)
        upstream, place = self._upstream, self._place
        if reusable and self._request_ended and upstream is not None and place is not None:
            self._upstream = None
            upstream.resume()  # its end may have come while the client was full
            place.replica.give_back(upstream)
        self._answered()

    def answer_lost(self, *, orderly: bool) -> None:
        # An answer of unknown length ends with its connection: that is its end, not a loss.
        if orderly and self._answer is _ResponseState.BEGUN and self._until_close:
            self.answer_ends(reusable=False)
        else:
            if self._place is not None:
                self._place.doubt()
            self._fail(502, "Bad Gateway", "the replica broke the connection")

    def upstream_full(self) -> None:
        if not self._request_ended:
            self._client.pause()

    def upstream_drained(self) -> None:
        self._client.resume()

    # how it ends

    def _not_begun_in_time(self) -> None:
        if self._answer is _ResponseState.AWAITED:
            self._timed_out()

    def _timed_out(self) -> None:
        if self._answer is _ResponseState.ENDED:
            self._client.abort()  # an answered client that never stopped sending
        else:
            self._fail(504, "Gateway Timeout", "request timeout")

    def _fail(self, status: int, reason: str, text: str) -> None:
        """Answer for the replica; an answer that has begun can only be cut off."""
        if self._answer is not _ResponseState.AWAITED:
            self._let_go()
            self._stop_timers()
            self._client.abort()
            return
        self._close = self._close or not self._request_ended
        self._client.write(http1.plain_answer(status, reason, text, close=self._close))
        self._answered()

    def _answered(self) -> None:
        self._answer = _ResponseState.ENDED
        self._let_go()
        if self._request_ended or self._awaits_continue:
            self._end()
            return
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(_LINGER_S, self._timed_out))
        self._client.resume()

    def _end(self) -> None:
        self._stop_timers()
        self._client.exchange_ended(close=self._close)

    def _let_go(self) -> None:
        """Leave the replica: no more waiting for it, no connection, no place."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None
        if self._place is not None:
            self._place.leave()
            self._place = None
        self._held.clear()

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # heads

    def _request_head(self, method: bytes, target: bytes, headers: Headers) -> bytes:
        own = [http1.IN_CHUNKS] if self._framing is BodyFraming.CHUNKED else []
        line = b"%b %b HTTP/1.1" % (method, target)
        return http1.head(line, http1.end_to_end(headers), *own)

    def _answer_framing(self, headers: Headers) -> BodyFraming | None:
        """None: a coding that we cannot pass on."""
        try:
            framing = http1.framing(headers)
        except http1.UnsupportedCoding:
            return None
        self._until_close = framing is BodyFraming.NONE
        return framing
