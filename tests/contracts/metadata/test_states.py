"""Any sequence of changes to one batch, compared with a model of it that is simple enough to read.

The model has no locks, rows or leases that get lost: it is a status, an ending, and for each shard
a state, an epoch and a token. After every step the store must say the same, and a call must win in
the store exactly when it wins in the model. Preconditions only keep it from dwelling on what is
dull: early failures, and batches that have ended.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from fixtures.metadata import (
    ALICE,
    FAR_AHEAD,
    LONG_AGO,
    T0,
    Opener,
    a_batch,
    a_part,
    a_shard,
    a_tally,
    an_event,
    unsent_ids,
)
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from batch_gateway.core.events import EventType
from batch_gateway.core.ids import ActivationId, shard_id
from batch_gateway.core.model import (
    SOURCES,
    TERMINAL,
    BatchStatus,
    ClosedShard,
    EndReason,
    LeaseRef,
    ResultTally,
    ShardState,
    TokenUsage,
)

S = BatchStatus
SHARDS = 3
READY, LEASED, CLOSED = ShardState
HOLDERS = ["h0", "h1"]

indexes = st.integers(0, SHARDS - 1)
tokens = st.sampled_from(["t0", "t1"])
#: Steps until a batch may be ended by other things than its work.
patience = st.sampled_from([4, 8, 16, 0])
#: A shard, how many epochs ago its lease was seen, and whether its token was misread.
sightings = st.tuples(indexes, st.sampled_from([0, 0, 1]), st.sampled_from([False, False, True]))


Sighting = tuple[int, int, bool]


@dataclass
class Model:
    status: BatchStatus = S.VALIDATING
    ending: EndReason | None = None
    paused: bool = False
    states: list[ShardState] = field(default_factory=list)
    epochs: list[int] = field(default_factory=lambda: [0] * SHARDS)
    tokens: list[str] = field(default_factory=lambda: [""] * SHARDS)
    recorded: list[ResultTally] = field(default_factory=lambda: [ResultTally()] * SHARDS)
    assembler: str | None = None
    announced: set[str] = field(default_factory=set)

    @property
    def open_shards(self) -> int:
        return sum(state is not CLOSED for state in self.states)

    @property
    def runs(self) -> bool:
        return self.status is S.IN_PROGRESS and not self.ending and not self.paused

    def holds(self, sighting: Sighting) -> bool:
        index, ago, misread = sighting
        return bool(self.states) and self.states[index] is LEASED and not ago and not misread

    @property
    def tally(self) -> ResultTally:
        return sum(self.recorded, ResultTally())

    def record(self, index: int, tally: ResultTally) -> None:
        if tally.lines:
            self.recorded[index] = self.recorded[index].at_least(tally)

    def lease(self, index: int, token: str) -> None:
        self.states[index] = LEASED
        self.epochs[index] += 1
        self.tokens[index] = token

    def close(self, *from_: ShardState) -> None:
        self.states = [CLOSED if state in from_ else state for state in self.states]
        if not self.open_shards and self.status is S.IN_PROGRESS:
            self.status = S.FINALIZING


class Machine(RuleBasedStateMachine):
    new_metadata: Opener  # set by the test

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.runner.run(self.new_metadata())

    def run(self, call: Any) -> Any:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.store.outbox.sent(list(self.model.announced)))
        self.run(self.store.close())
        self.runner.close()

    def ref(self, sighting: Sighting) -> LeaseRef:
        index, ago, misread = sighting
        return LeaseRef(
            shard=shard_id(self.batch.id, index),
            epoch=self.model.epochs[index] - ago,
            token="misread" if misread else self.model.tokens[index],
        )

    def announcing(self, type_: EventType) -> dict[str, Any]:
        return {"now": T0, "events": [an_event(self.batch, type_)]}

    def announced(self, type_: EventType) -> None:
        self.model.announced.add(an_event(self.batch, type_).id)

    @initialize(patience=patience)
    def start(self, patience: int) -> None:
        self.may_fail = False
        self.begin(overdue=True, planned=True, patience=patience)

    @precondition(lambda self: self.model.status in TERMINAL)
    @rule(overdue=st.booleans(), planned=st.booleans(), fails=st.booleans(), patience=patience)
    def begin_another(self, overdue: bool, planned: bool, fails: bool, patience: int) -> None:
        self.run(self.store.outbox.sent(list(self.model.announced)))
        self.may_fail = fails
        self.begin(overdue, planned, patience)

    def begin(self, overdue: bool, planned: bool, patience: int) -> None:
        self.model, self.shown = Model(), ResultTally()
        self.overdue, self.patience = overdue, patience
        self.batch = a_batch(deadline=LONG_AGO if overdue else FAR_AHEAD)
        self.run(self.store.batches.create(self.batch, []))
        if planned:
            self.plan(set())

    @precondition(lambda self: self.model.status in (S.VALIDATING, S.IN_PROGRESS))
    @rule(closed=st.sets(indexes))
    def plan(self, closed: set[int]) -> None:
        states = [CLOSED if index in closed else READY for index in range(SHARDS)]
        shards = [a_shard(self.batch, n, state=state) for n, state in enumerate(states)]
        change = self.announcing(EventType.BATCH_CREATED)

        won = self.run(
            self.store.batches.plan(self.batch.id, shards, total=SHARDS, model="m", **change)
        )

        assert (won is not None) == (self.model.status is S.VALIDATING and not self.model.ending)
        if won:
            self.model.status, self.model.states = S.IN_PROGRESS, states
            self.model.close()
            self.announced(EventType.BATCH_CREATED)

    @precondition(lambda self: self.may_fail and self.patience <= 0)
    @rule()
    def fail(self) -> None:
        change = self.announcing(EventType.BATCH_FAILED)

        won = self.run(self.store.batches.fail(self.batch.id, [], **change))

        assert (won is not None) == (self.model.status in SOURCES[S.FAILED])
        if won:
            self.model.status = S.FAILED
            self.model.close(READY, LEASED)
            self.announced(EventType.BATCH_FAILED)

    @precondition(lambda self: self.patience <= 0)
    @rule()
    def cancel(self) -> None:
        change = self.announcing(EventType.BATCH_CANCELLING)

        won = self.run(self.store.batches.cancel(ALICE, self.batch.id, fence_at=T0, **change))

        assert (won is not None) == (self.model.status in SOURCES[S.CANCELLING])
        if won:
            self.model.status, self.model.ending = S.CANCELLING, EndReason.CANCELLED
            self.model.close(READY)
            self.announced(EventType.BATCH_CANCELLING)

    @precondition(lambda self: self.patience <= 0)
    @rule()
    def expire(self) -> None:
        model, change = self.model, self.announcing(EventType.BATCH_EXPIRING)

        won = self.run(self.store.batches.expire(self.batch.id, fence_at=T0, **change))

        may = model.status in (S.VALIDATING, S.IN_PROGRESS) and not model.ending and self.overdue
        assert (won is not None) == may
        if won:
            model.ending = EndReason.EXPIRED
            model.status = S.FINALIZING if model.status is S.VALIDATING else model.status
            model.close(READY)
            self.announced(EventType.BATCH_EXPIRING)

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        won = self.run(self.store.batches.pause(ALICE, self.batch.id, paused))

        may = self.model.status not in TERMINAL and not self.model.ending
        assert (won is not None) == may
        self.model.paused = paused if won else self.model.paused

    @rule(index=indexes, token=tokens)
    def claim(self, index: int, token: str) -> None:
        lease = self.run(
            self.store.shards.claim(
                shard_id(self.batch.id, index), holder=ActivationId("a"), token=token, now=T0
            )
        )

        assert (lease is not None) == (self.model.runs and self.model.states[index] is READY)
        if lease:
            self.model.lease(index, token)
            assert lease.ref == self.ref((index, 0, False))

    @rule(observed=sightings, token=tokens)
    def take_over(self, observed: Sighting, token: str) -> None:
        may = self.model.holds(observed)

        lease = self.run(
            self.store.shards.take_over(
                self.ref(observed), holder=ActivationId("b"), token=token, now=T0
            )
        )

        assert (lease is not None) == may
        if lease:
            self.model.lease(observed[0], token)

    @rule(named=sightings, verb=st.sampled_from(["finish", "release"]), completed=st.integers(0, 2))
    def hand_back(self, named: Sighting, verb: str, completed: int) -> None:
        model, tally = self.model, a_tally(completed)
        may, change = model.holds(named), self.announcing(EventType.BATCH_EXECUTED)

        result = self.run(
            getattr(self.store.shards, verb)(self.ref(named), [a_part()], tally, **change)
        )

        if not may:
            assert result is (None if verb == "finish" else False)
        elif verb == "release" and not model.ending:
            assert result is True
            model.states[named[0]] = READY
            model.record(named[0], tally)
        else:
            model.states[named[0]] = CLOSED
            model.close()
            model.record(named[0], tally)
            assert isinstance(result, ClosedShard)
            assert result.last == (model.open_shards == 0)
            if result.last:
                self.announced(EventType.BATCH_EXECUTED)

    @rule(named=st.lists(sightings, max_size=2), completed=st.integers(0, 2))
    def checkpoint(self, named: list[Sighting], completed: int) -> None:
        tallies = {self.ref(one): a_tally(completed) for one in named}
        before = self.model.tally

        changed = self.run(self.store.shards.checkpoint(tallies))

        for one in named:
            if self.model.holds(one):
                self.model.record(one[0], a_tally(completed))
        grew = self.model.tally != before
        assert [batch.id for batch in changed] == ([self.batch.id] if grew else [])

    @precondition(lambda self: self.model.status not in (S.VALIDATING, S.IN_PROGRESS))
    @rule(holder=st.sampled_from(HOLDERS), ttl_s=st.sampled_from([0, 60]))
    def claim_assembly(self, holder: str, ttl_s: int) -> None:
        """A right that is taken for no time is free at once."""
        model = self.model

        won = self.run(
            self.store.batches.claim_assembly(
                self.batch.id, holder, now=T0, ttl=timedelta(seconds=ttl_s)
            )
        )

        assemblable = model.status in (S.FINALIZING, S.CANCELLING) and not model.open_shards
        free = model.assembler in (None, holder) or self.assembler_ttl_s == 0
        assert (won is not None) == (assemblable and free)
        if won:
            model.assembler, self.assembler_ttl_s = holder, ttl_s

    @precondition(lambda self: self.model.assembler is not None)
    @rule(
        holder=st.sampled_from(HOLDERS), to=st.sampled_from([S.COMPLETED, S.EXPIRED, S.CANCELLED])
    )
    def finish(self, holder: str, to: BatchStatus) -> None:
        model, change = self.model, self.announcing(EventType.BATCH_COMPLETED)
        ending = {
            S.COMPLETED: None,
            S.EXPIRED: EndReason.EXPIRED,
            S.CANCELLED: EndReason.CANCELLED,
        }[to]
        current = self.run(self.store.batches.load(self.batch.id))

        won = self.run(
            self.store.batches.finish(
                self.batch.id,
                to,
                holder=holder,
                files=[],
                output=None,
                error=None,
                counts=current.counts,
                usage=current.usage,
                **change,
            )
        )

        may = model.assembler == holder and model.status in SOURCES[to] and model.ending is ending
        assert (won is not None) == may
        if won:
            model.status = to
            self.announced(EventType.BATCH_COMPLETED)

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        self.patience -= 1
        model = self.model
        batch = self.run(self.store.batches.load(self.batch.id))
        shards = self.run(self._shards())

        assert (batch.status, batch.ending, batch.paused) == (
            model.status,
            model.ending,
            model.paused,
        )
        assert batch.open_shards == model.open_shards
        assert (batch.counts.completed, batch.counts.failed) == (model.tally.completed, 0)
        assert (batch.usage is not None) == bool(model.tally.completed)
        assert batch.usage in (None, model.tally.usage)
        shown = ResultTally(completed=batch.counts.completed, usage=batch.usage or TokenUsage())
        assert shown.at_least(self.shown) == shown  # counts and usage never fall
        self.shown = shown
        assert [shard.state for shard in shards] == model.states
        if shards:
            assert [shard.epoch for shard in shards] == model.epochs
            assert [shard.token for shard in shards] == model.tokens
        assert set(self.run(unsent_ids(self.store))) == model.announced

    async def _shards(self) -> list[Any]:
        return [shard async for shard in self.store.shards.of_batch(self.batch.id)]


@pytest.mark.timeout(400)  # a failure is shrunk, which takes minutes on a slow backend
def test_any_sequence_of_changes_ends_as_the_model_says(new_metadata: Opener) -> None:
    machine = type("Machine", (Machine,), {"new_metadata": staticmethod(new_metadata)})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30, stateful_step_count=40, deadline=None, database=None, print_blob=True
        ),
    )
