"""How many bytes of answers a process holds at once: of those that it reads, and of results.

While there are more, reading waits: the sockets' buffers fill, and the engines stop sending. A call
whose answer waits keeps its slot, and the time does not count for its time-out.

One answer at a time may be read beyond that, so there is always progress: the one whose turn it is.
Its turn ends with the answer, or when little of it comes for a second; so an engine that stops in
the middle of an answer does not keep others waiting. While results wait to be stored, which makes
room too, turns come once a second.

A compressed answer may become a thousand times as long. It waits in the same way before it is
unpacked.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

_SMALL = 64 * 1024  # bytes of an answer that never waits for others
_LOOK_S = 0.1  # between checks while answers wait
_TURN_S = 1.0
_LITTLE = 256 * 1024  # bytes in that time; what one read of a socket may bring


class AnswerReader(Protocol):
    """Reads one answer."""

    def pause(self) -> None:
        """Read nothing more until ``resume``."""
        ...

    def resume(self) -> None: ...


class AnswerBudget:
    """Belongs to one event loop."""

    def __init__(self, most_bytes: int, *, results: Callable[[], int] = lambda: 0) -> None:
        """``results``: bytes of results that wait to be stored; they count too."""
        self.results = results
        self._most = most_bytes
        self._held: dict[AnswerReader, int] = {}
        self._bytes = 0  # of all of them
        self._waiting: dict[AnswerReader, None] = {}  # in their order
        self._turn: AnswerReader | None = None
        self._turn_at = 0.0  # loop.time() when the turn was last looked at, or ended
        self._turn_bytes = 0  # of its answer, then
        self._look: asyncio.TimerHandle | None = None

    @property
    def held(self) -> int:
        """Bytes of answers that are being read."""
        return self._bytes

    @property
    def waiting(self) -> int:
        """Answers that wait."""
        return len(self._waiting)

    def add(self, reader: AnswerReader, size: int) -> None:
        """``reader`` has read as many more bytes."""
        self._held[reader] = self._held.get(reader, 0) + size
        self._bytes += size

    def check(self, reader: AnswerReader) -> None:
        """Pause ``reader`` if there is no room for more of its answer."""
        held = self._held.get(reader, 0)
        if held < _SMALL or reader is self._turn or reader in self._waiting or not self._full:
            return
        if not self._waiting and self._turn_is_free:
            self._take_turn(reader)
        else:
            self._wait(reader)
            reader.pause()

    def done(self, reader: AnswerReader) -> None:
        """The answer is complete, or is not read any more. May be called again."""
        self._bytes -= self._held.pop(reader, 0)
        self._waiting.pop(reader, None)
        if reader is self._turn:
            self._turn, self._turn_at = None, _now()
        self._resume()

    async def room(self) -> None:
        """Wait until there is room for an answer that is to be unpacked.

        The caller unpacks it and counts what it has become without waiting for anything else.
        """
        if not self._full:
            return
        unpacking = _Unpacking()
        self._wait(unpacking)
        try:
            await unpacking.may
        finally:
            self._waiting.pop(unpacking, None)

    @property
    def _full(self) -> bool:
        return self._bytes + self.results() > self._most

    @property
    def _turn_is_free(self) -> bool:
        return self._turn is None and (not self.results() or _now() >= self._turn_at + _TURN_S)

    def _take_turn(self, reader: AnswerReader) -> None:
        self._turn, self._turn_at = reader, _now()
        self._turn_bytes = self._held.get(reader, 0)

    def _wait(self, reader: AnswerReader) -> None:
        self._waiting[reader] = None
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self._end_slow_turn()
        self._resume()
        if self._waiting:
            self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._look_again)

    def _end_slow_turn(self) -> None:
        reader, now = self._turn, _now()
        if reader is None or now < self._turn_at + _TURN_S:
            return
        read, self._turn_at = self._held.get(reader, 0), now
        if read < self._turn_bytes + _LITTLE and self._waiting and self._full:
            self._turn, self._turn_at = None, now - _TURN_S
            self._waiting[reader] = None
            reader.pause()
        self._turn_bytes = read

    def _resume(self) -> None:
        """Let those read on that may."""
        while self._waiting:
            full = self._full
            if full and not self._turn_is_free:
                return
            reader = next(iter(self._waiting))
            del self._waiting[reader]
            if isinstance(reader, _Unpacking):  # what it becomes is known with the next step
                if full:
                    self._turn_at = _now()
                reader.resume()
                asyncio.get_running_loop().call_soon(self._resume)
                return
            if full:
                self._take_turn(reader)
            reader.resume()


class _Unpacking:
    """A whole answer that is to be unpacked."""

    def __init__(self) -> None:
        self.may: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def pause(self) -> None:
        """It waits from the beginning."""

    def resume(self) -> None:
        if not self.may.done():
            self.may.set_result(None)


def _now() -> float:
    return asyncio.get_running_loop().time()
