"""A leased shard: whatever happens to it, no line is lost or done twice."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.lines import ShardLine, decode_part_line, not_answered
from batch_gateway.core.model import Lease, QueueEntry, Shard
from batch_gateway.services.execute.lease_state import (
    FINAL,
    TRANSITIONS,
    IllegalTransition,
    LeaseState,
)
from batch_gateway.services.execute.leased_shard import ActivationSignals, LeasedShard
from batch_gateway.services.execute.line_in_flight import LineInFlight
from batch_gateway.services.execute.suspect_isolation import SuspectIsolation
from batch_gateway.services.results.parts import ShardResults

BATCH = BatchId("batch_1")
POOLS = ("a/m", "b/m")


def leased(
    lines: int,
    *,
    index: int = 0,
    epoch: int = 1,
    deaths: dict[int, int] | None = None,
    done: ShardResults | None = None,
    isolation: SuspectIsolation | None = None,
) -> LeasedShard:
    shard = Shard(
        batch=BATCH, index=index, model="m", key="k", lines=lines, cost=lines, epoch=epoch
    )
    deadline = datetime(2030, 1, 1, tzinfo=UTC)
    made = LeasedShard(
        Lease(
            shard=shard,
            tenant=TenantId("t"),
            deadline=deadline,
            priority=5,
            options={},
            traceparent=None,
        ),
        QueueEntry(
            shard=shard.id, tenant=TenantId("t"), model="m", cost=1, priority=5, deadline=deadline
        ),
        signals=ActivationSignals(),
        isolation=isolation or SuspectIsolation(),
        stop_at=1e9,
        most_buffered=10_000,
    )
    done = done or ShardResults()
    done.deaths.update(deaths or {})
    made.load(
        [ShardLine(n, str(n), "/v1/chat/completions", "m", Raw(b"{}")) for n in range(lines)],
        done,
        passed={},
    )
    made.move(LeaseState.RUNNING)
    made.pools = len(POOLS)
    return made


def note(held: LeasedShard) -> None:
    """As a flush does."""
    to_note, to_clear = held.to_note(), held.to_clear()
    held.noted(to_note)
    if to_clear is not None:
        held.cleared(to_clear, 0.0)


def finish(held: LeasedShard, work: LineInFlight) -> None:
    held.record(not_answered(BATCH, work.line.line, "x", code="c", message="m"))


class Play:
    """An activation's part, played at random."""

    def __init__(self, held: LeasedShard) -> None:
        self.held = held
        self.now = 0.0
        self.running: list[LineInFlight] = []

    def step(self, kind: str, pool: str) -> None:
        if kind == "later":
            self.now += 1.0
        elif kind == "note":
            note(self.held)
        elif kind == "take":
            could = self.held.startable(self.now, pool, calm=True)
            work = self.held.take(self.now, pool, calm=True)
            waits = self.held._isolation.alone  # for its note
            assert (work is not None) == (could > 0 and (waits is None or waits is work))
            if work is not None:
                assert not work.shuns(pool, self.now)
                self.running.append(work)
        elif self.running:
            work = self.running.pop()
            if kind == "record":
                finish(self.held, work)
            elif kind == "wait":
                work.tries += 1
                self.held.wait(work, pool, self.now, 0.5)
            elif kind == "abort":
                self.held.preempted(work, self.now)
            else:
                self.held.give_back(work)

    def drain(self) -> list[int]:
        """Finish everything; the numbers of the lines that were recorded."""
        for work in self.running:
            finish(self.held, work)
        while not self.held.finished:
            note(self.held)
            self.now += 100.0
            while (work := self.held.take(self.now, POOLS[0], calm=True)) is not None:
                finish(self.held, work)
        return [decode_part_line(raw).line for raw in self.held.results.take()]


steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "record", "wait", "give_back", "abort", "later", "note"]),
        st.sampled_from(POOLS),
    ),
    max_size=80,
)


@given(lines=st.integers(1, 20), epoch=st.integers(1, 2), play=steps)
def test_every_line_is_recorded_exactly_once(lines, epoch, play):
    game = Play(leased(lines, epoch=epoch))
    recorded = 0
    for kind, pool in play:
        recorded += kind == "record" and bool(game.running)
        game.step(kind, pool)
        assert game.held.running == len(game.running)
        assert game.held.left + game.held.running + recorded == lines

    assert sorted(game.drain()) == list(range(lines))


@given(deaths=st.dictionaries(st.integers(0, 9), st.integers(1, 2), max_size=5), play=steps)
def test_suspects_come_first_and_are_alone_and_nothing_starts_unnoted(deaths, play):
    game = Play(leased(10, epoch=3, deaths=deaths))
    for kind, pool in play:
        game.step(kind, pool)
        if game.held.suspicious:
            assert len(game.running) <= 1
            assert all(work.deaths for work in game.running)
        assert all(work.noted or work is game.held._charged for work in game.running)

    assert sorted(game.drain()) == list(range(10))
    assert not game.held.suspicious


def test_the_first_failure_costs_no_pause_at_another_replica():
    held = leased(1)
    work = held.take(0.0, "a/m", calm=True)
    assert work is not None
    work.tries = 1

    held.wait(work, "a/m", 0.0, 5.0)

    assert held.startable(0.0, "a/m", calm=True) == 0
    assert held.take(0.0, "a/m", calm=True) is None
    assert held.take(0.0, "b/m", calm=True) is work


def test_a_line_goes_back_to_the_same_replica_when_no_other_wants_it():
    held = leased(1)
    work = held.take(0.0, "a/m", calm=True)
    assert work is not None
    work.tries = 1
    held.wait(work, "a/m", 0.0, 5.0)

    assert held.take(6.0, "a/m", calm=True) is None
    assert held.take(7.0, "a/m", calm=True) is work


def test_what_is_handed_back_accuses_nobody():
    held = leased(3, epoch=2, deaths={1: 1})
    note(held)
    work = held.take(0.0, "a/m", calm=True)
    assert work is not None
    held.give_back(work)

    notes = [decode_part_line(raw) for raw in held.notes()]

    assert [(one.line, one.tokens[:2]) for one in notes] == [(1, (0, 1))]


@pytest.mark.parametrize("to", LeaseState)
@pytest.mark.parametrize("state", LeaseState)
def test_a_shard_changes_its_state_as_the_table_says_only(state, to):
    held = leased(2)
    held.state = state

    if to in TRANSITIONS[state]:
        held.move(to)
        assert held.state is to
        assert held.held == (to not in FINAL)
    else:
        with pytest.raises(IllegalTransition, match=f"from {state} to {to}"):
            held.move(to)
        assert held.state is state


def test_each_state_leads_to_the_end_of_the_lease_and_to_its_loss():
    assert {LeaseState.ENDED, LeaseState.LOST} == FINAL
    for state in TRANSITIONS.keys() - FINAL:
        reached, new = {state}, {state}
        while new:
            new = {to for one in new for to in TRANSITIONS[one]} - reached
            reached |= new
        assert reached >= FINAL
        assert LeaseState.LOST in TRANSITIONS[state]
