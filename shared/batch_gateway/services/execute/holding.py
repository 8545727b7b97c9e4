"""One leased shard in the hands of an activation: what is left to do and what is finished."""

import asyncio
import heapq
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from batch_gateway.core.lines import PartLine, ShardLine, attempted, copied, encode_part_line
from batch_gateway.core.model import Lease, Part, Tally, Ticket

FAIRNESS = "x-gateway-inference-fairness-id"
"""Whom routers of the Gateway API Inference Extension share capacity fairly among: tenants."""
ELSEWHERE_S = 2.0
"""How long a line that failed at one replica is kept for the others, after its pause."""
UNREST_S = 60.0
"""How long a line that was aborted for users waits for calm at most."""


_AHEAD = 64  # lines that are noted before they are started: so many are suspected after a death


@dataclass(slots=True, eq=False)
class Work:
    """A request line on its way."""

    holding: "Holding"
    line: ShardLine
    attempts: int = 0  # that count against the line
    tries: int = 0  # in a row, of any kind: the pause grows with them
    trial: bool = False  # the present call tries out whether its endpoint is back
    failed_at: str | None = None  # the pool that others are preferred to; None: all are alike
    failed_until: float = 0.0  # loop.time() until when
    started_at: float = 0.0  # loop.time() of its present call
    refused_at: float | None = None  # loop.time() when its credentials were refused last
    aborts: int = 0  # calls that were aborted because users waited
    aborting: bool = False  # the present one is
    cut: bool = False  # the end of the activation has ended its call
    deaths: int = 0  # of earlier workers while it was in flight
    noted: bool = False  # a stored note says that it may be in flight

    def shuns(self, pool: str, now: float) -> bool:
        return pool == self.failed_at and now < self.failed_until


class Holding:
    """Lines move pending -> running -> finished; those that failed for now wait in between.

    Finished lines collect in a buffer until they are flushed as a part. Where several pools serve
    the model, a line that failed in one is kept for the others for some seconds.

    *Poison* is a line that kills its worker. To find it, a shard that was leased before is worked
    on warily: some lines at a time are noted in a part before they may be started. A note that
    neither a result nor another note follows tells the next holder that its worker died with this
    line in flight: such *suspects* are run one at a time, alone, before all others.
    """

    def __init__(
        self,
        lease: Lease,
        ticket: Ticket,
        lines: Iterable[ShardLine],
        *,
        attempts: Mapping[int, int],
        deaths: Mapping[int, int],
        aborts: Mapping[int, int],
        cut: Collection[int],
        tally: Tally,
        passed: Mapping[str, str],
        most_buffered: int,
        stop_at: float,
    ) -> None:
        """``lines`` are those without a result; ``attempts``, ``deaths`` and ``aborts`` are what
        notes say of them by number, ``cut`` those whose call the end of an activation cut: they go
        first, with a full budget. ``tally`` is that of the shard's recorded parts; ``passed`` are
        headers of the client's that calls carry on; no call goes on beyond ``stop_at``
        (``loop.time()``), the batch's deadline."""
        self.lease = lease
        self.ticket = ticket
        self.deadline: datetime = lease.deadline
        self.stop_at = stop_at  # loop.time() of the deadline
        self.parts: list[Part] = list(lease.shard.parts)
        self.tally = tally
        self.sequence = 0  # of the next part
        self.headers = _headers(lease, passed)  # of its calls
        self.passed = passed.keys()  # those of them that are the client's own
        self.pools = 1  # that its lines may be taken by
        self.further = sum(attempts.values())  # attempts beyond the first, of all lines
        self.urgent = ticket.urgent  # goes before work that is not; heartbeats judge it anew
        self.stopped = False  # no line is started any more
        self.closing = False  # on its way out: finished, handed back or lost
        self.writing = asyncio.Lock()  # one part at a time
        self._wary = lease.shard.epoch > 1
        works = [
            Work(
                self,
                line,
                attempts.get(line.line, 0),
                deaths=deaths.get(line.line, 0),
                aborts=aborts.get(line.line, 0),
            )
            for line in lines
        ]
        works.sort(key=lambda work: (-work.deaths, work.line.line not in cut))
        self._pending = deque(works)
        self._suspects = {work.line.line for work in works if work.deaths}
        self._copies = {work.line.line: work.line.copies for work in works if work.line.copies}
        self._aborted: deque[tuple[float, Work]] = deque()  # with loop.time() of the abort
        self._waiting: list[tuple[float, int, Work]] = []  # heap by the time to try again
        self._running = 0
        self._buffer: list[bytes] = []
        self._most_buffered = most_buffered
        self._cost = lease.shard.cost / max(1, lease.shard.lines)  # of a line, on average
        self._counted = tally.completed + tally.failed

    @property
    def left(self) -> int:
        """Lines without a result that are not running."""
        return len(self._pending) + len(self._aborted) + len(self._waiting)

    @property
    def cost_left(self) -> float:
        """Estimated tokens of the lines without a result, running ones included."""
        return (self.left + self._running) * self._cost

    def newly_done(self) -> float:
        """Estimated tokens of the lines finished since the last call."""
        finished = self.tally.completed + self.tally.failed
        new, self._counted = finished - self._counted, finished
        return new * self._cost

    @property
    def resting(self) -> int:
        """Those of them that were aborted and wait for calm."""
        return len(self._aborted)

    @property
    def running(self) -> int:
        return self._running

    @property
    def finished(self) -> bool:
        return not (self._pending or self._aborted or self._waiting or self._running)

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    @property
    def suspicious(self) -> bool:
        """Has suspects: nothing else may be in flight in this process beside one of them."""
        return bool(self._suspects)

    def startable(self, now: float, pool: str, *, calm: bool) -> int:
        """Lines that ``take`` would give."""
        if not self._startable():
            return 0
        due = sum(at <= now and not work.shuns(pool, now) for at, _, work in self._waiting)
        again = len(self._aborted) if self._again(now, calm=calm) else 0
        if not self._wary:
            return len(self._pending) + due + again
        noted = sum(work.noted for work in self._turn())
        return min(noted + due + again, 1) if self._suspects else noted + due + again

    def _startable(self) -> bool:
        if self._suspects and self._running:
            return False
        return not self.stopped and len(self._buffer) < self._most_buffered

    def take(self, now: float, pool: str, *, calm: bool) -> Work | None:
        """The next line for ``pool`` at ``now`` (``loop.time()``).

        One whose pause is over, else one that was aborted, else the next of the plan. Aborted ones
        wait until it is ``calm``: they would only be aborted again.
        """
        if not self._startable():
            return None
        work = self._due(now, pool) if self._waiting else None
        if work is None and self._again(now, calm=calm):
            work = self._aborted.popleft()[1]
        if work is None:
            if not self._pending or (self._wary and not any(w.noted for w in self._turn()[:1])):
                return None
            work = self._pending.popleft()
        self._running += 1
        return work

    def _due(self, now: float, pool: str) -> Work | None:
        left_to_others = []
        found = None
        while found is None and self._waiting and self._waiting[0][0] <= now:
            entry = heapq.heappop(self._waiting)
            if entry[2].shuns(pool, now):
                left_to_others.append(entry)
            else:
                found = entry[2]
        for entry in left_to_others:
            heapq.heappush(self._waiting, entry)
        return found

    def give_back(self, work: Work) -> None:
        """A line that was started and cut through no fault of its own: first in the row again."""
        self._running -= 1
        work.failed_at = None
        self._pending.appendleft(work)

    def aborted(self, work: Work, now: float) -> None:
        """A line whose call was aborted because users waited."""
        self._running -= 1
        work.failed_at = None
        self._aborted.append((now, work))

    def _again(self, now: float, *, calm: bool) -> bool:
        """Whether the line that was aborted first is to be started again."""
        return bool(self._aborted) and (calm or now >= self._aborted[0][0] + UNREST_S)

    def wait(self, work: Work, pool: str, now: float, pause: float) -> None:
        """A line that failed in ``pool`` for now: to be tried again after ``pause`` seconds.

        Where there are other pools, its first failure costs no pause there.
        """
        self._running -= 1
        until = now + pause
        if self.pools > 1:
            work.failed_at, work.failed_until = pool, until + ELSEWHERE_S
            if work.tries == 1:
                until = now
        heapq.heappush(self._waiting, (until, work.line.line, work))

    def record(self, result: PartLine) -> None:
        """A line is finished, and with it those that are the same: all of them in one part."""
        self._running -= 1
        self._suspects.discard(result.line)
        self._keep(result)

    def take_poison(self, deaths: int) -> list[ShardLine]:
        """Lines that so many workers died over: to be written off, not started."""
        found = []
        while self._pending and self._pending[0].deaths >= deaths:
            found.append(self._pending.popleft().line)
        return found

    def write_off(self, result: PartLine) -> None:
        """A line is finished without having been started."""
        self._suspects.discard(result.line)
        self._keep(result)

    def _keep(self, result: PartLine) -> None:
        batch = self.lease.shard.batch
        copies = self._copies.get(result.line, ())
        for one in (result, *(copied(batch, result, *copy) for copy in copies)):
            self._buffer.append(encode_part_line(one))
            self.tally += one.tally

    def take_buffer(self) -> list[bytes]:
        """Finished lines that are not in a part yet; they are the caller's now."""
        lines, self._buffer = self._buffer, []
        return lines

    def put_back_buffer(self, lines: list[bytes]) -> None:
        """Undo ``take_buffer`` after a failed write."""
        self._buffer = lines + self._buffer

    def to_note(self) -> list[Work]:
        """Lines that a note must tell of before they may be started; none: there is time."""
        if not self._wary or self.stopped or (self._suspects and self._running):
            return []
        ahead = self._turn()
        found = [work for work in ahead if not work.noted]
        return found if 2 * len(found) > len(ahead) else []

    def _turn(self) -> list[Work]:
        """Lines of the plan that may come next: as long as there are suspects, only one of them."""
        ahead = islice(self._pending, 1 if self._suspects else _AHEAD)
        return [work for work in ahead if work.deaths or not self._suspects]

    def notes(self) -> list[bytes]:
        """What is known of unfinished lines, for the next holder: none of them is in flight."""
        waiting = (work for _, _, work in self._waiting)
        stopped = (work for _, work in self._aborted)
        return [
            encode_part_line(
                attempted(work.line.line, work.attempts, work.deaths, work.aborts, cut=work.cut)
            )
            for work in (*self._pending, *stopped, *waiting)
            if work.attempts or work.deaths or work.noted or work.aborts or work.cut
        ]


def starting(works: Iterable[Work]) -> list[bytes]:
    """Notes that stand if the worker dies before anything follows them."""
    return [
        encode_part_line(attempted(work.line.line, work.attempts, work.deaths + 1, work.aborts))
        for work in works
    ]


def _headers(lease: Lease, passed: Mapping[str, str]) -> dict[str, str]:
    """What every call of a shard carries, whatever its line and endpoint."""
    headers: dict[str, str] = {**passed, FAIRNESS: lease.tenant}
    if lease.traceparent is not None:
        headers["traceparent"] = lease.traceparent
    return headers
