"""Lines of a shard without a result that are not in flight, in the order in which they start."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

from batch_gateway.services.execute.line_in_flight import LineInFlight

ELSEWHERE_S = 2.0
"""How long a line that failed at one replica is kept for the others, after its pause."""
UNREST_S = 60.0
"""How long a preempted line waits for calm at most."""


class UnfinishedLines:
    """First lines whose pause is over, then preempted ones, then the ones that were not started.

    Preempted lines wait until it is ``calm``: they would only be preempted again.
    """

    def __init__(self, works: Iterable[LineInFlight] = ()) -> None:
        self.pending: deque[LineInFlight] = deque(works)
        self._preempted: deque[tuple[float, LineInFlight]] = deque()  # loop.time() of the abort
        self._waiting: list[tuple[float, int, LineInFlight]] = []  # heap by the time to try again

    def __len__(self) -> int:
        return len(self.pending) + len(self._preempted) + len(self._waiting)

    def __iter__(self) -> Iterator[LineInFlight]:
        yield from self.pending
        yield from (work for _, work in self._preempted)
        yield from (work for _, _, work in self._waiting)

    def ready(self, now: float) -> int:
        """Lines that need not wait: neither for a pause nor for calm."""
        return len(self.pending) + sum(at <= now for at, _, _ in self._waiting)

    def retriable(self, now: float, pool: str, *, calm: bool) -> int:
        """Lines that were started before and may start again in ``pool``."""
        due = sum(at <= now and not work.shuns(pool, now) for at, _, work in self._waiting)
        return due + (len(self._preempted) if self._again(now, calm=calm) else 0)

    def first(self, now: float, pool: str, *, calm: bool) -> LineInFlight | None:
        """The line that starts next in ``pool``; it stays where it is."""
        due = (one for one in self._waiting if one[0] <= now and not one[2].shuns(pool, now))
        if (found := min(due, default=None)) is not None:
            return found[2]
        if self._again(now, calm=calm):
            return self._preempted[0][1]
        return self.pending[0] if self.pending else None

    def take_retriable(self, now: float, pool: str, *, calm: bool) -> LineInFlight | None:
        """Remove the first line that was started before and may start again in ``pool``."""
        work = self._due(now, pool) if self._waiting else None
        if work is None and self._again(now, calm=calm):
            work = self._preempted.popleft()[1]
        return work

    def move_first(self, work: LineInFlight) -> None:
        self._waiting = [one for one in self._waiting if one[2] is not work]
        heapq.heapify(self._waiting)
        self._preempted = deque(one for one in self._preempted if one[1] is not work)
        self.pending = deque(one for one in self.pending if one is not work)
        self.pending.appendleft(work)

    def give_back(self, work: LineInFlight) -> None:
        """Add a line that starts first again."""
        work.failed_at = None
        self.pending.appendleft(work)

    def preempt(self, work: LineInFlight, now: float) -> None:
        """Add a line whose call was aborted at ``now``."""
        work.failed_at = None
        self._preempted.append((now, work))

    def wait(self, work: LineInFlight, pool: str, now: float, pause: float, *, pools: int) -> None:
        """Add a line that failed in ``pool``; it may start again after ``pause`` seconds.

        Where there are other pools, its first failure costs no pause there.
        """
        until = now + pause
        if pools > 1:
            work.failed_at, work.failed_until = pool, until + ELSEWHERE_S
            if work.tries == 1:
                until = now
        heapq.heappush(self._waiting, (until, work.line.line, work))

    def _due(self, now: float, pool: str) -> LineInFlight | None:
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

    def _again(self, now: float, *, calm: bool) -> bool:
        """Whether the line that was preempted first is to be started again."""
        return bool(self._preempted) and (calm or now >= self._preempted[0][0] + UNREST_S)
