"""One leased shard of an activation: its state, the lines that are left, and the finished ones."""

import asyncio
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from batch_gateway.core.ids import BatchId
from batch_gateway.core.lines import PartLine, ShardLine, copied
from batch_gateway.core.model import Lease, QueueEntry
from batch_gateway.services.execute.lease_state import FINAL, LeaseState, moved
from batch_gateway.services.execute.line_in_flight import LineInFlight, note
from batch_gateway.services.execute.result_buffer import ResultBuffer
from batch_gateway.services.execute.shard_spans import ShardSpans
from batch_gateway.services.execute.suspect_isolation import (
    WRITTEN_OFF,
    SuspectIsolation,
)
from batch_gateway.services.execute.unfinished_lines import UnfinishedLines

if TYPE_CHECKING:
    from batch_gateway.services.results.parts import ShardResults

FAIRNESS = "x-gateway-inference-fairness-id"
"""Header by which routers of the Gateway API Inference Extension share capacity among tenants."""
_AHEAD = 64  # lines that are noted before they are started: so many are suspects after a crash


@dataclass(slots=True)
class ActivationSignals:
    """Events from leased shards to their activation; the loops that wait clear them."""

    work: asyncio.Event = field(default_factory=asyncio.Event)  # lease more, or look at the end
    flush: asyncio.Event = field(default_factory=asyncio.Event)  # a shard has much to store


class LeasedShard:
    """Lines move pending -> running -> finished; lines that failed for now wait in between.

    ``state`` changes by ``move`` only, along ``lease_state.TRANSITIONS``. ``settled`` is set when
    there is nothing to wait for any more: all lines have results, or the shard drains and no call
    runs, or the lease is lost. Results collect in ``results`` until they are flushed as a part.

    A *poison* line crashes its worker. To find it, a shard that was leased before is worked on
    warily: some lines at a time are noted in a part before they may be started. If neither
    a result nor another note follows a note, its worker died with this line in flight: the next
    holder runs such *suspects* first and one at a time (``suspect_isolation``). A note that would
    write its line off if the worker died stands only while that line is in flight alone.
    """

    def __init__(
        self,
        lease: Lease,
        entry: QueueEntry,
        *,
        signals: ActivationSignals,
        isolation: SuspectIsolation,
        stop_at: float,
        most_buffered: int,
        most_spans: int = 0,
    ) -> None:
        """``stop_at`` is the batch's deadline as ``loop.time()``: calls end then. While more than
        ``most_buffered`` finished lines wait to be stored, no line is started. At most
        ``most_spans`` calls get a span."""
        self.lease = lease
        self.entry = entry
        self.state = LeaseState.OPENING
        self.settled = asyncio.Event()
        self.deadline: datetime = lease.deadline
        self.stop_at = stop_at
        self.results = ResultBuffer(lease.shard, most=most_buffered)
        self.spans = ShardSpans(lease, most_spans)
        self.headers = self._headers({})  # of its calls
        self.passed: Set[str] = frozenset()  # names of those that are the client's own
        self.pools = 1  # that its lines may be taken by
        self.further = 0  # attempts beyond the first, of all lines
        self.urgent = entry.urgent  # goes before work that is not; estimates decide it anew
        self.stuck = False  # something that it needs is missing in the file store
        self.blocked_since: float | None = None  # loop.time(); None: it can run
        self.writing = asyncio.Lock()  # one part at a time
        self._signals = signals
        self._isolation = isolation
        self._wary = lease.shard.epoch > 1
        self._unfinished = UnfinishedLines()
        self._suspects: set[int] = set()
        self._charged: LineInFlight | None = None  # accused, and the stored note would end it
        self._copies: dict[int, list[tuple[int, str]]] = {}
        self._running = 0
        self._cost = lease.shard.cost / max(1, lease.shard.lines)  # of a line, on average

    def load(
        self, lines: Iterable[ShardLine], done: "ShardResults", *, passed: Mapping[str, str]
    ) -> None:
        """Take up what is left of ``lines`` after the results and notes of ``done``.

        ``passed`` are headers of the client's that calls carry on. A line whose call the end of an
        activation cut goes first, with a full budget.
        """
        works = [
            LineInFlight(
                self,
                line,
                done.attempts.get(line.line, 0),
                deaths=done.deaths.get(line.line, 0),
                aborts=done.aborts.get(line.line, 0),
                retries=done.retries(line.line),
                ended_calls=done.ended_calls(line.line),
            )
            for line in lines
            if line.line not in done.lines
        ]
        works.sort(key=lambda work: (-work.deaths, work.line.line not in done.cut))
        self.headers = self._headers(passed)
        self.passed = passed.keys()
        self.further = sum(done.attempts.values())
        self.results.load(done)
        self._unfinished = UnfinishedLines(works)
        self._suspects = {work.line.line for work in works if work.deaths}
        self._copies = {work.line.line: work.line.copies for work in works if work.line.copies}

    def _headers(self, passed: Mapping[str, str]) -> dict[str, str]:
        """What every call carries, whatever its line and endpoint."""
        return {**passed, FAIRNESS: self.lease.tenant, **self.spans.headers}

    @property
    def batch(self) -> BatchId:
        return self.lease.shard.batch

    # -- state ----------------------------------------------------------------------------------

    def move(self, to: LeaseState) -> None:
        """Enter ``to``. Raises IllegalTransition when the present state does not allow it."""
        self.state = moved(self.state, to)
        self._changed()

    def drain(self) -> None:
        """Start no more lines; nothing happens when that is so already."""
        if self.state in (LeaseState.OPENING, LeaseState.RUNNING):
            self.move(LeaseState.DRAINING)

    def lose(self) -> None:
        """The lease is over; nothing happens when that is known already."""
        if self.state not in FINAL:
            self.move(LeaseState.LOST)

    async def settles_within(self, seconds: float) -> bool:
        """Wait for ``seconds``, or until nothing is to be waited for any more (True)."""
        try:
            async with asyncio.timeout(seconds):
                await self.settled.wait()
        except TimeoutError:
            return False
        return True

    @property
    def runs(self) -> bool:
        """Lines may be started."""
        return self.state is LeaseState.RUNNING

    @property
    def held(self) -> bool:
        """The lease is ours, as far as is known."""
        return self.state not in FINAL

    def _changed(self) -> None:
        """Tell the loops that wait for it what has changed."""
        if self.results.should_store or self.to_note() or self.to_clear():
            self._signals.flush.set()
        if not self.left or self.state is not LeaseState.RUNNING:
            self._signals.work.set()
        if self._isolation.holder is self and not self._running:
            self._isolation.holder = None
            self._signals.work.set()
        if self.state in FINAL:
            self._isolation.leave(self)
        if (
            self.state in FINAL
            or (self.state is LeaseState.DRAINING and not self._running)
            or (self.state is LeaseState.RUNNING and self.finished)
        ):
            self.settled.set()

    # -- counts ---------------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """Lines without a result that are not running."""
        return len(self._unfinished)

    def ready(self, now: float) -> int:
        """Those of them that need not wait: neither for a pause nor for calm.

        While the shard is being opened, as many as it has at most.
        """
        if self.state is LeaseState.OPENING:
            return 0 if self.stuck else self._not_recorded
        return self._unfinished.ready(now)

    @property
    def cost_left(self) -> float:
        """Estimated tokens of the lines without a result, running ones included."""
        if self.state is LeaseState.OPENING:
            return self._not_recorded * self._cost
        return (self.left + self._running) * self._cost

    @property
    def _not_recorded(self) -> int:
        """Lines that no recorded result is known of."""
        return max(0, self.lease.shard.lines - self.results.lines)

    def newly_done(self) -> float:
        """Estimated tokens of the lines finished since the last call."""
        return self.results.take_new() * self._cost

    @property
    def running(self) -> int:
        return self._running

    @property
    def finished(self) -> bool:
        """All lines have results."""
        return not (self._unfinished or self._running)

    @property
    def suspicious(self) -> bool:
        """Has suspects: its lines run one at a time until none is left."""
        return bool(self._suspects)

    # -- lines ----------------------------------------------------------------------------------

    def startable(self, now: float, pool: str, *, calm: bool) -> int:
        """Lines that ``take`` would give; an accused one as soon as nothing else is in flight."""
        if not self._startable(now):
            return 0
        accused = self._next_accused(now, pool, calm=calm)
        if accused is not None:
            return int(self._isolation.may_ask(accused, now))
        again = self._unfinished.retriable(now, pool, calm=calm)
        if not self._wary:
            return len(self._unfinished.pending) + again
        noted = sum(work.noted for work in self._turn())
        return min(noted + again, 1) if self._suspects else noted + again

    def _startable(self, now: float) -> bool:
        if not self.runs or self.results.full or self._isolation.stops(self, now):
            return False
        if self._charged is not None and self.to_clear() is not None:
            return False
        return not self._suspects or (not self._running and self._isolation.is_free())

    def take(
        self, now: float, pool: str, *, calm: bool, untried_first: bool = False
    ) -> LineInFlight | None:
        """The next line for ``pool`` at ``now`` (``loop.time()``).

        Lines that were started before go first, unless ``untried_first``.
        """
        if not self._startable(now):
            return None
        accused = self._next_accused(now, pool, calm=calm)
        if accused is not None:
            return self._take_alone(accused, now)
        work = self._take_pending() if untried_first else None
        if work is None:
            work = self._unfinished.take_retriable(now, pool, calm=calm)
        if work is None:
            work = self._take_pending()
        return None if work is None else self._started(work)

    def _take_pending(self) -> LineInFlight | None:
        pending = self._unfinished.pending
        if not pending or (self._wary and not any(w.noted for w in self._turn()[:1])):
            return None
        return pending.popleft()

    def _started(self, work: LineInFlight) -> LineInFlight:
        self._running += 1
        self._isolation.running += 1
        if self._suspects:
            self._isolation.holder = self
        return work

    def _ended(self) -> None:
        self._running -= 1
        self._isolation.running -= 1

    def _next_accused(self, now: float, pool: str, *, calm: bool) -> LineInFlight | None:
        """The line that ``take`` would give, if it is accused."""
        if not self._suspects:
            return None
        if self._isolation.alone is not None:
            return self._isolation.alone
        work = self._unfinished.first(now, pool, calm=calm)
        return work if work is not None and work.accused else None

    def _take_alone(self, work: LineInFlight, now: float) -> LineInFlight | None:
        """Take an accused line once nothing else is in flight and a note has recorded that."""
        asked = self._isolation.alone is work
        alone = self._isolation.ask(work, now)
        if not asked and self._isolation.alone is work:  # it is first from now on, in all pools
            self._unfinished.move_first(work)
        if not alone:
            return None
        if not work.noted:
            self._signals.flush.set()
            return None
        self._unfinished.pending.remove(work)
        work.noted = False  # for this call only
        return self._started(work)

    def give_back(self, work: LineInFlight) -> None:
        """A line whose call was cut through no fault of its own: it goes first again."""
        self._ended()
        self._unfinished.give_back(work)
        self._changed()

    def preempted(self, work: LineInFlight, now: float) -> None:
        """A line whose call was aborted because users waited."""
        self._ended()
        self._unfinished.preempt(work, now)
        self._changed()

    def wait(self, work: LineInFlight, pool: str, now: float, pause: float) -> None:
        """A line that failed in ``pool``; it is tried again after ``pause`` seconds."""
        self._ended()
        self._unfinished.wait(work, pool, now, pause, pools=self.pools)
        self._changed()

    def record(self, result: PartLine) -> None:
        """A line is finished, and with it those that are the same: all of them in one part."""
        self._keep(result)  # first: what cannot be encoded leaves the line running
        self._ended()
        self._suspects.discard(result.line)
        self._changed()

    def take_poison(self) -> list[ShardLine]:
        """Lines that are to be written off, not started."""
        found = []
        pending = self._unfinished.pending
        while pending and pending[0].deaths >= WRITTEN_OFF:
            found.append(pending.popleft().line)
        return found

    def write_off(self, result: PartLine) -> None:
        """A line is finished without having been started."""
        self._keep(result)
        self._suspects.discard(result.line)

    def _keep(self, result: PartLine) -> None:
        batch = self.batch
        results = [result]
        if self._copies:
            copies = self._copies.get(result.line, ())
            results += [copied(batch, result, *copy) for copy in copies]
        self.results.add(results)

    # -- notes ----------------------------------------------------------------------------------

    def to_note(self) -> list[LineInFlight]:
        """Lines that a note must name before they may be started; none: there is time."""
        if not self._wary or not self.runs or (self._suspects and self._running):
            return []
        alone = self._isolation.alone
        if alone is not None and alone.shard is self:
            return [] if alone.noted or self._charged or self._isolation.running else [alone]
        ahead = self._turn()
        found = [work for work in ahead if not work.noted]
        return found if 2 * len(found) > len(ahead) else []

    def noted(self, works: Iterable[LineInFlight]) -> None:
        """A note of them is stored: they may be started."""
        for work in works:
            work.noted = True
            if work.accused:
                self._charged = work

    def to_clear(self) -> LineInFlight | None:
        """The accused line that is no longer in flight, while its note still records that it is."""
        work = self._charged
        if work is None or self._running:
            return None
        return None if work.noted and self._isolation.alone is work else work

    def clearing(self, work: LineInFlight | None) -> list[bytes]:
        """The note to store behind its results, if it has none."""
        if work is None or work.line.line not in self._suspects:
            return []
        return [note(work)]

    def cleared(self, work: LineInFlight, now: float) -> None:
        """What came of its call is stored; others may start again."""
        work.noted = False
        self._charged = None
        self._isolation.release(work, now)

    def _turn(self) -> list[LineInFlight]:
        """Lines of the plan that may come next: as long as there are suspects, only one of them;
        accused lines have a turn of their own."""
        ahead = islice(self._unfinished.pending, 1 if self._suspects else _AHEAD)
        return [work for work in ahead if not work.accused and (work.deaths or not self._suspects)]

    def notes(self) -> list[bytes]:
        """What is known of unfinished lines, for the next holder: none of them is in flight."""
        return [
            note(work)
            for work in self._unfinished
            if work.attempts
            or work.deaths
            or work.noted
            or work.aborts
            or work.cut
            or work.call is not None
        ]
