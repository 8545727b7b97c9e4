"""One leased shard in the hands of an activation: what is left to do and what is finished."""

import asyncio
import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from batch_gateway.core.lines import PartLine, ShardLine, attempted, encode_part_line
from batch_gateway.core.model import Lease, Part, Tally, Ticket


@dataclass(slots=True, eq=False)
class Work:
    """A request line on its way."""

    holding: "Holding"
    line: ShardLine
    attempts: int = 0  # that count against the line
    tries: int = 0  # in a row, of any kind: the pause grows with them


class Holding:
    """Lines move pending -> running -> finished; those that failed for now wait in between.

    Finished lines collect in a buffer until they are flushed as a part.
    """

    def __init__(
        self,
        lease: Lease,
        ticket: Ticket,
        lines: Iterable[ShardLine],
        *,
        attempts: dict[int, int],
        tally: Tally,
        most_buffered: int,
        stop_at: float,
    ) -> None:
        """``lines`` are those without a result; ``tally`` is that of the shard's recorded parts;
        no call goes on beyond ``stop_at`` (``loop.time()``), the batch's deadline."""
        self.lease = lease
        self.ticket = ticket
        self.deadline: datetime = lease.deadline
        self.stop_at = stop_at  # loop.time() of the deadline
        self.parts: list[Part] = list(lease.shard.parts)
        self.tally = tally
        self.sequence = 0  # of the next part
        self.stopped = False  # no line is started any more
        self.closing = False  # on its way out: finished, handed back or lost
        self.writing = asyncio.Lock()  # one part at a time
        self._pending = deque(Work(self, line, attempts.get(line.line, 0)) for line in lines)
        self._waiting: list[tuple[float, int, Work]] = []  # heap by the time to try again
        self._running = 0
        self._buffer: list[bytes] = []
        self._most_buffered = most_buffered

    @property
    def left(self) -> int:
        """Lines without a result that are not running."""
        return len(self._pending) + len(self._waiting)

    @property
    def running(self) -> int:
        return self._running

    @property
    def finished(self) -> bool:
        return not (self._pending or self._waiting or self._running)

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    def startable(self, now: float) -> int:
        """Lines that could be started now (``loop.time()``)."""
        if self.stopped or len(self._buffer) >= self._most_buffered:
            return 0
        due = sum(1 for at, _, _ in self._waiting if at <= now) if self._waiting else 0
        return len(self._pending) + due

    def take(self, now: float) -> Work | None:
        """The next line to start: one whose pause is over, else the next of the plan."""
        if self.stopped or len(self._buffer) >= self._most_buffered:
            return None
        if self._waiting and self._waiting[0][0] <= now:
            work = heapq.heappop(self._waiting)[2]
        elif self._pending:
            work = self._pending.popleft()
        else:
            return None
        self._running += 1
        return work

    def give_back(self, work: Work) -> None:
        """A line that was started and cut through no fault of its own: first in the row again."""
        self._running -= 1
        self._pending.appendleft(work)

    def wait(self, work: Work, until: float) -> None:
        """A line that failed for now: to be tried again at ``until`` (``loop.time()``)."""
        self._running -= 1
        heapq.heappush(self._waiting, (until, work.line.line, work))

    def record(self, result: PartLine) -> None:
        """A line is finished."""
        self._running -= 1
        self._buffer.append(encode_part_line(result))
        self.tally += result.tally

    def take_buffer(self) -> list[bytes]:
        """Finished lines that are not in a part yet; they are the caller's now."""
        lines, self._buffer = self._buffer, []
        return lines

    def put_back_buffer(self, lines: list[bytes]) -> None:
        """Undo ``take_buffer`` after a failed write."""
        self._buffer = lines + self._buffer

    def notes(self) -> list[bytes]:
        """How often unfinished lines were tried, so that the next holder counts on."""
        waiting = (work for _, _, work in self._waiting)
        return [
            encode_part_line(attempted(work.line.line, work.attempts))
            for work in (*self._pending, *waiting)
            if work.attempts
        ]
