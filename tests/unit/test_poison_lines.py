"""Lines that kill their worker, among others that do not: only they are written off."""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from unit.test_leased_shard import leased

from batch_gateway.core.lines import NO_TOKENS, PartLine
from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.services.execute.line_in_flight import LineInFlight, starting
from batch_gateway.services.execute.suspect_isolation import SuspectIsolation
from batch_gateway.services.results.parts import ShardResults

POOL = "a/m"
LINES = 4  # of a shard


@dataclass
class Stored:
    """A shard as the stores have it."""

    index: int
    arrives: int  # the worker from which on it is there
    epoch: int = 0
    parts: list[bytes] = field(default_factory=list)

    def results(self) -> ShardResults:
        found = ShardResults()
        for part in self.parts:
            found.add(part)
        return found


class Killed(Exception):
    pass


def ended(line: int, *, ok: bool) -> PartLine:
    return PartLine(line=line, ok=ok, tokens=NO_TOKENS, result=Raw(b"{}"))


class Worker:
    """An executor's part: starts, finishes and stores lines in any order, until one kills it."""

    def __init__(self, shards: list[Stored], killers: set[tuple[int, int]], random: Random) -> None:
        self.random, self.killers, self.now = random, killers, 0.0
        isolation = SuspectIsolation()
        self.held = {stored.index: self.lease(stored, isolation) for stored in shards}
        self.stored = {stored.index: stored for stored in shards}
        self.running: list[LineInFlight] = []

    def lease(self, stored: Stored, isolation: SuspectIsolation) -> LeasedShard:
        stored.epoch += 1
        held = leased(
            LINES,
            index=stored.index,
            epoch=stored.epoch,
            isolation=isolation,
            done=stored.results(),
        )
        for line in held.take_poison():
            held.write_off(ended(line.line, ok=False))
        return held

    def work(self) -> None:
        """Until all is stored. Raises Killed."""
        for _ in range(20_000):
            if all(shard.finished and not shard.results for shard in self.held.values()):
                return
            self.now += 0.1
            shard = self.random.choice(list(self.held.values()))
            self.random.choice((self.flush, self.take, self.take, self.end))(shard)
        raise AssertionError("the work does not end")

    def flush(self, shard: LeasedShard) -> None:
        """As ``ShardLeases.flush`` does."""
        to_note, to_clear = shard.to_note(), shard.to_clear()
        lines = [*shard.results.take(), *shard.clearing(to_clear), *starting(to_note)]
        self.stored[shard.lease.shard.index].parts.append(b"".join(lines))
        shard.noted(to_note)
        if to_clear is not None:
            shard.cleared(to_clear, self.now)

    def take(self, shard: LeasedShard) -> None:
        work = shard.take(self.now, POOL, calm=True)
        if work is not None:
            self.running.append(work)
            assert not any(one.accused for one in self.running) or len(self.running) == 1

    def end(self, _: LeasedShard) -> None:
        if not self.running:
            return
        work = self.running.pop(self.random.randrange(len(self.running)))
        if (work.shard.lease.shard.index, work.line.line) in self.killers:
            raise Killed
        if self.random.random() < 0.3:
            work.tries += 1
            work.shard.wait(work, POOL, self.now, self.random.choice((0.0, 1.0)))
        else:
            work.shard.record(ended(work.line.line, ok=True))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    arrivals=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    killers=st.sets(st.tuples(st.integers(0, 3), st.integers(0, LINES - 1)), max_size=5),
)
def test_only_lines_that_kill_are_written_off(seed, arrivals, killers):
    """Shards with and without such lines arrive while others have suspects."""
    random = Random(seed)
    shards = [Stored(index, arrives) for index, arrives in enumerate(arrivals)]
    killers = {one for one in killers if one[0] < len(shards)}
    worker, deaths = 0, 0
    while any(len(one.results().lines) < LINES for one in shards):
        present = [one for one in shards if one.arrives <= worker] or shards[:1]
        unfinished = [one for one in present if len(one.results().lines) < LINES]
        try:
            Worker(unfinished, killers, random).work()
        except Killed:
            deaths += 1
        worker += 1

    failed = {(one.index, line) for one in shards for line in one.results().failed}
    assert failed == killers
    assert deaths <= 4 * len(killers)
