"""What metrics, probes and slow calls mean for a limit."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.engine_signals import (
    CapacityEstimate,
    EngineReading,
    QueueDrain,
    TtftBaseline,
    engine_signal,
    probe_signal,
)
from batch_gateway.core.latency_baseline import LatencyBaseline, work_units
from batch_gateway.core.limits import Brake, LimitState, PoolObservation, fold
from batch_gateway.core.preemption_budget import PreemptionBudget
from batch_gateway.settings import EngineMonitorSettings, LimitSettings

RULES = EngineMonitorSettings()
AT_ONCE = timedelta(0)
LOOK = timedelta(seconds=0.2)
MS = timedelta(milliseconds=1)
NOW = datetime(2030, 1, 1, tzinfo=UTC)

readings = st.builds(
    EngineReading,
    running=st.integers(0, 64).map(float),
    waiting=st.integers(0, 20).map(float),
    cache=st.one_of(st.none(), st.floats(0, 1)),
    saturation=st.one_of(st.none(), st.floats(0, 2)),
)


def seen(running: float, waiting: float = 0, fit: CapacityEstimate | None = None, **more):
    reading = EngineReading(running=running, waiting=waiting, **more)
    return engine_signal(reading, AT_ONCE, fit or CapacityEstimate(most=32), RULES)


def test_as_many_slots_are_given_up_as_requests_wait():
    signal = seen(32, 3)

    assert (signal.brake, signal.room, signal.users_wait) == (Brake.ENGINE, -3, True)
    assert signal.reason == "3 requests wait in the engine"


def test_what_is_free_may_be_used_but_for_the_slot_that_is_kept():
    assert seen(20).room == 11
    assert seen(31).room == 0


def test_the_last_free_slot_is_given_up_without_aborting_a_call():
    signal = seen(32)

    assert (signal.room, signal.users_wait) == (-1, False)


def test_how_much_fits_is_unknown_before_the_first_queue():
    assert seen(20, fit=CapacityEstimate()).room is None


def test_a_full_cache_is_as_bad_as_a_queue():
    signal = seen(20, cache=0.97)

    assert (signal.room, signal.users_wait) == (-2, True)
    assert "97% of the KV cache" in signal.reason


def test_a_saturated_router_gets_no_more():
    signal = seen(20, saturation=1.2)

    assert (signal.room, signal.users_wait) == (-1, False)


@given(
    reading=readings,
    fit=st.sampled_from([CapacityEstimate(), CapacityEstimate(most=10), CapacityEstimate(most=64)]),
)
def test_old_metrics_are_no_good_news(reading, fit):
    fresh = engine_signal(reading, AT_ONCE, fit, RULES)
    old = engine_signal(reading, timedelta(seconds=1.1), fit, RULES)

    assert old.room is not None
    assert old.room <= 0
    if fresh.room is not None and fresh.room < 0:
        assert old.room == fresh.room


@given(before=readings, reading=readings)
def test_whatever_runs_while_others_wait_is_what_fits(before, reading):
    known = CapacityEstimate().after(before, LOOK)
    fit = known.after(reading, LOOK)

    if reading.waiting and reading.running >= max(1, (known.most or 0) / 2):
        assert fit.most == reading.running
    elif reading.waiting:
        assert fit.most == known.most
    elif fit.most is not None:
        assert fit.most >= reading.running


def test_a_stalled_engine_does_not_change_what_fits():
    fit = CapacityEstimate(most=32)

    for _ in range(100):
        fit = fit.after(EngineReading(running=0, waiting=6), LOOK)

    assert fit.most == 32
    assert engine_signal(EngineReading(running=0, waiting=0), AT_ONCE, fit, RULES).room == 31


def test_far_fewer_than_fitted_are_believed_after_two_seconds():
    fit, few = CapacityEstimate(most=32), EngineReading(running=4, waiting=6)

    for _ in range(9):
        fit = fit.after(few, LOOK)
    assert fit.most == 32
    fit = fit.after(few, LOOK)

    assert fit.most == 4


def test_an_engine_without_a_queue_is_filled_quicker_and_quicker():
    fit = CapacityEstimate(most=4)

    for _ in range(200):
        fit = fit.after(EngineReading(running=fit.most - 1, waiting=0), LOOK)

    assert fit.most >= 4 + 1 + 2 + 4


def test_after_a_while_without_a_queue_one_more_is_tried():
    fit, calm = CapacityEstimate(most=32), EngineReading(running=31, waiting=0)

    for _ in range(49):
        fit = fit.after(calm, LOOK)
    assert fit.most == 32
    fit = fit.after(calm, 2 * LOOK)

    assert fit.most == 33


def draining(per_s: float) -> QueueDrain:
    """After calls have ended at that pace for long."""
    drain = QueueDrain()
    for _ in range(100):
        drain = drain.after(round(per_s * LOOK.total_seconds()), LOOK)
    return drain


@pytest.mark.parametrize(
    ("per_s", "waiting", "brief"),
    [(1000, 49, True), (1000, 51, False), (5, 1, False), (0, 1, False), (0, 0, True)],
)
def test_a_queue_is_brief_that_is_gone_before_a_user_would_notice(per_s, waiting, brief):
    assert draining(per_s).brief(waiting, RULES) is brief


def test_the_pace_at_which_calls_end_is_forgotten_by_half_in_a_second():
    drain = draining(1000)

    for _ in range(5):
        drain = drain.after(0, LOOK)

    assert drain.per_s == pytest.approx(500, rel=0.01)
    assert drain.after(100, timedelta(0)) == drain


@given(ended=st.lists(st.integers(0, 500), min_size=1, max_size=50))
def test_the_pace_is_never_taken_for_higher_than_it_was(ended):
    drain = QueueDrain()

    for count in ended:
        drain = drain.after(count, LOOK)

    assert 0 <= drain.per_s <= max(ended) / LOOK.total_seconds() + 1e-6


@given(
    reading=readings,
    fit=st.sampled_from([CapacityEstimate(), CapacityEstimate(most=10), CapacityEstimate(most=64)]),
)
def test_a_brief_queue_lowers_the_limit_but_no_call_is_aborted_for_it(reading, fit):
    lasting = engine_signal(reading, AT_ONCE, fit, RULES)
    brief = engine_signal(reading, AT_ONCE, fit, RULES, brief=True)

    assert brief.room == lasting.room
    assert brief.users_wait == (lasting.users_wait and not reading.waiting)
    assert ("for a moment" in brief.reason) == (reading.waiting > 0)


@given(
    reading=readings,
    fit=st.sampled_from([CapacityEstimate(), CapacityEstimate(most=10), CapacityEstimate(most=64)]),
)
def test_a_brief_queue_does_not_say_that_less_fits(reading, fit):
    after = fit.after(reading, LOOK, brief=True)

    assert (after.most is None) == (fit.most is None)
    if fit.most is not None:
        assert after.most >= max(fit.most, reading.running)
    if reading.waiting:
        assert after.calm == timedelta(0)


def probe(*, ttft=None, open_for=None, looks=1, usual=40 * MS):
    return probe_signal(ttft=ttft, open_for=open_for, looks=looks, usual=usual, rules=RULES)


@pytest.mark.parametrize(
    ("asked", "room", "users_wait"),
    [
        ({"ttft": 89 * MS}, 1, False),
        ({"ttft": 91 * MS}, 0, False),
        ({"open_for": 89 * MS}, 0, False),
        ({"open_for": 91 * MS}, -1, True),
        ({"open_for": 291 * MS, "looks": 2}, -4, True),
        ({"open_for": 9 * timedelta(seconds=1), "usual": None}, 0, False),
    ],
    ids=[
        "in time",
        "late",
        "not yet late",
        "unanswered for too long",
        "still unanswered",
        "nothing is known yet",
    ],
)
def test_a_probe_is_judged_by_what_is_usual(asked, room, users_wait):
    signal = probe(**asked)

    assert (signal.brake, signal.room, signal.users_wait) == (Brake.PROBE, room, users_wait)


@given(ttfts=st.lists(st.tuples(st.floats(0, 60), st.integers(1, 999)), min_size=1, max_size=50))
def test_usual_is_the_least_within_the_window(ttfts):
    usual, at, kept = TtftBaseline(window=timedelta(seconds=100)), 0.0, []

    for pause, ms in ttfts:
        at += pause
        usual.add(at, ms * MS)
        kept.append((at, ms * MS))

        assert usual.ttft == min(ttft for when, ttft in kept if when >= at - 100)


def calls(per_unit_ms: float, limit: float) -> PoolObservation:
    """One round trip of calls that each do 100 units."""
    count = int(limit)
    return PoolObservation(
        successes=count, work=100 * count, busy_ms=int(100 * count * per_unit_ms), in_flight=count
    )


def test_calls_that_take_longer_for_what_they_do_cut_the_limit_at_last():
    rules = LimitSettings(start=40)
    state = LimitState(limit=40.0, slow_start=False)
    state = fold(state, calls(10, 40), rules, NOW)

    slow = fold(state, calls(16, state.limit), rules, NOW)

    assert (slow.last_brake, slow.limit < state.limit) == (Brake.LATENCY, True)
    assert slow.reason == "calls take 1.6 times as long as usual for what they do"
    assert not slow.aborts(NOW)


@pytest.mark.parametrize(("ms_per_unit", "left"), [(20, 0.5), (16, 0.625), (90, 0.5)])
def test_slow_start_takes_back_what_it_has_overshot_by_and_half_at_most(ms_per_unit, left):
    rules = LimitSettings(start=40)
    state = fold(LimitState(limit=40.0, slow_start=False), calls(10, 40), rules, NOW)
    state = replace(state, slow_start=True)

    slow = fold(state, calls(ms_per_unit, state.limit), rules, NOW)

    assert slow.limit == pytest.approx(state.limit * left, rel=0.05)
    assert not slow.slow_start


def test_a_limit_does_not_grow_while_calls_are_slow_but_no_round_trip_is_over():
    rules = LimitSettings(start=40)
    state = fold(LimitState(limit=40.0), calls(10, 40), rules, NOW)

    waiting = fold(state, calls(200, state.limit / 4), rules, NOW)

    assert (waiting.limit, waiting.last_brake) == (state.limit, None)


def test_longer_answers_are_not_slower():
    rules = LimitSettings(start=40)
    state = fold(LimitState(limit=40.0), calls(10, 40), rules, NOW)
    longer = PoolObservation(successes=40, work=40 * 900, busy_ms=40 * 9000, in_flight=40)

    assert fold(state, longer, rules, NOW).last_brake is None


def test_slow_calls_say_nothing_where_an_engine_is_watched():
    rules = LimitSettings(start=40)
    state = fold(LimitState(limit=40.0), calls(10, 40), rules, NOW)

    watched = replace(calls(99, 40), watched=True)

    assert fold(state, watched, rules, NOW).last_brake is None


def test_slowness_that_cuts_do_not_cure_becomes_usual():
    rules = LimitSettings(start=64)
    state = fold(LimitState(limit=64.0), calls(10, 64), rules, NOW)

    limits = []
    for _ in range(30):
        state = fold(state, calls(40, state.limit), rules, NOW)
        limits.append(state.limit)

    assert min(limits) > 30
    assert limits[-1] > min(limits)
    assert state.slowness.usual == pytest.approx(40, rel=0.05)


@given(per_unit=st.lists(st.floats(1, 100), min_size=1, max_size=40))
def test_what_is_usual_is_never_above_what_was_just_seen(per_unit):
    slowness = LatencyBaseline()

    for ms in per_unit:
        slowness = slowness.after(10, 1000 * ms, 1000, 10)

        assert slowness.usual is not None
        assert slowness.usual <= slowness.now * 1.000001


def test_work_is_mostly_what_is_generated():
    assert work_units(0, 100) == 110
    assert work_units(1000, 0) == 30


@given(
    calls=st.lists(st.tuples(st.booleans(), st.floats(0, 30)), max_size=200),
    share=st.floats(0, 1),
)
def test_no_more_than_its_share_of_slot_time_is_thrown_away(calls, share):
    time, useful, wasted = PreemptionBudget(), 60.0, 0.0

    for aborted, seconds in calls:
        if not aborted:
            time, useful = time.used(seconds), useful + seconds
        elif time.affords(seconds, share):
            time, wasted = time.wasted(seconds), wasted + seconds

    assert wasted <= share * (useful + wasted) + 1e-6


def test_what_was_long_ago_counts_less():
    time = PreemptionBudget().used(1000).wasted(100)

    assert time.after(timedelta(minutes=10)) == PreemptionBudget(useful_s=530, wasted_s=50)
