"""Outcomes of a pool's calls: each is reported once, and refusals make the pool pause."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.limits import Brake, MonitorSignal, PoolObservation
from batch_gateway.core.retry import ANSWERED, AWAY, FULL, REFUSED
from batch_gateway.ports.coordination import SlotGrant, SlotReport
from batch_gateway.services.execute.attempt import AttemptResult
from batch_gateway.services.execute.outcomes import OtherExecutorTracker, PoolOutcomes

SECOND = timedelta(seconds=1)


def ended(verdict, retry_after=None):
    return AttemptResult(verdict, None, timedelta(0), retry_after)


def report(seen, aborted):
    return SlotReport(endpoint="e", want=0, in_use=0, seen=seen, aborted=aborted)


@given(
    calls=st.lists(st.sampled_from([ANSWERED, FULL, REFUSED]), max_size=30),
    lost=st.lists(st.booleans(), min_size=31, max_size=31),
)
def test_every_outcome_is_told_once_however_many_reports_are_lost(calls, lost):
    outcomes, told, aborted = PoolOutcomes(), PoolObservation(), 0

    for verdict, is_lost in zip(calls, lost, strict=False):
        outcomes.count(ended(verdict), 0.0, 0.5, trial=False, slots=4)
        outcomes.aborted()
        seen, count = outcomes.take(MonitorSignal(brake=Brake.PROBE, room=0, reason=""))
        assert seen.signal is not None
        if is_lost:
            outcomes.put_back(report(seen, count))
        else:
            told, aborted = told + seen, aborted + count
    rest, count = outcomes.take(None)
    told, aborted = told + rest, aborted + count

    assert told.successes == calls.count(ANSWERED) == outcomes.answered
    assert (told.dropped, told.ignored) == (calls.count(FULL), calls.count(REFUSED))
    assert aborted == len(calls)
    assert rest.signal is None  # old news are no news


@pytest.mark.parametrize(
    ("seconds", "rounds"),
    [pytest.param(0.5, 1, id="long"), pytest.param(0.05, 2, id="short"), (0.0, 2.5)],
)
def test_lines_are_needed_for_as_long_as_leasing_a_shard_may_take(seconds, rounds):
    outcomes = PoolOutcomes()
    assert outcomes.rounds_ahead == 1

    for _ in range(1000):
        outcomes.count(ended(ANSWERED), 0.0, seconds, trial=False, slots=4)

    assert outcomes.rounds_ahead == pytest.approx(rounds, rel=0.01)


def test_a_pool_pauses_when_every_slot_was_refused_in_a_row_and_longer_each_round():
    outcomes, pauses = PoolOutcomes(), []

    for _ in range(12):
        assert outcomes.count(ended(FULL), 0.0, 0.1, trial=False, slots=3)
        pauses.append(outcomes.paused_until)

    assert pauses[1] == 0.0
    assert 0.0 < pauses[2] < pauses[5] < pauses[8] <= pauses[11]


def test_an_answer_ends_the_row_of_refusals():
    outcomes = PoolOutcomes()
    for _ in range(2):
        outcomes.count(ended(FULL), 0.0, 0.1, trial=False, slots=3)

    assert not outcomes.count(ended(ANSWERED), 0.0, 0.1, trial=False, slots=3)
    outcomes.count(ended(FULL), 0.0, 0.1, trial=False, slots=3)

    assert (outcomes.refusals, outcomes.paused_until) == (1, 0.0)


@pytest.mark.parametrize(("named", "pause"), [(4, 4.0), (600, 15.0)], ids=["short", "too long"])
def test_the_pause_is_at_least_what_the_endpoint_named_up_to_a_bound(named, pause):
    outcomes = PoolOutcomes()

    outcomes.count(ended(FULL, named * SECOND), 0.0, 0.1, trial=False, slots=1)

    assert outcomes.paused_until == pause


def test_a_trial_in_vain_is_no_sign_of_overload():
    outcomes = PoolOutcomes()

    assert not outcomes.count(ended(AWAY), 0.0, 0.1, trial=True, slots=1)

    assert outcomes.take(None) == (PoolObservation(), 0)
    assert outcomes.paused_until == 0.0


def test_calls_of_other_executors_are_what_the_slot_server_says_beyond_the_own_ones():
    others = OtherExecutorTracker()

    def told(mine: int, answered: int, at: float):
        grant = SlotGrant(
            slots=1, limit=9, free=0, generation="g", others_in_use=2, others_most=3,
            answered=answered,
        )  # fmt: skip
        seen = report(PoolObservation(successes=mine), 0)
        others.granted(grant, seen, reported_after=at)
        return others.calls

    assert told(5, 105, 1.0).ended == 0  # of before
    calls = told(4, 119, 2.0)
    assert (calls.running, calls.most, calls.ended, calls.reported_after) == (2, 3, 10, 2.0)
    assert told(1, 1, 3.0).ended == 10  # the server has lost its memory
    assert told(1, 4, 4.0).ended == 12
