"""The controller, without a server."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core import limits
from batch_gateway.core.latency_baseline import LatencyBaseline
from batch_gateway.core.limits import (
    Brake,
    LimitState,
    MonitorSignal,
    PoolObservation,
    aged,
    initial,
    slots,
)
from batch_gateway.settings import LimitSettings

RULES = LimitSettings(floor=2, ceiling=200, start=8, cut=0.9, step=1.0)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def signal(room: int | None, brake: Brake = Brake.ENGINE) -> MonitorSignal:
    return MonitorSignal(
        brake=brake, room=room, reason="2 requests wait in the engine", users_wait=(room or 0) < 0
    )


def fold(
    state: LimitState, seen: PoolObservation, rules: LimitSettings, now: datetime = NOW
) -> LimitState:
    return limits.fold(state, seen, rules, now)


milliseconds = st.one_of(st.just(0.0), st.floats(0, 1e9))
states = st.builds(
    LimitState,
    limit=st.floats(2, 200),
    slow_start=st.booleans(),
    last_brake=st.sampled_from([None, *Brake]),
)
learned = st.builds(
    LimitState,
    limit=st.floats(2, 200),
    slow_start=st.booleans(),
    slowness=st.builds(
        LatencyBaseline,
        usual=st.one_of(st.none(), milliseconds),
        now=milliseconds,
        calls=st.floats(0, 300),
        cuts=st.integers(0, 9),
        before=milliseconds,
    ),
)
signals = st.builds(
    signal,
    st.one_of(st.none(), st.integers(-300, 300)),
    st.sampled_from([Brake.ENGINE, Brake.PROBE]),
)
observations = st.builds(
    PoolObservation,
    successes=st.integers(0, 500),
    dropped=st.integers(0, 5),
    ignored=st.integers(0, 50),
    busy_ms=st.integers(0, 10**9),
    work=st.integers(0, 10**9),
    in_flight=st.integers(0, 300),
    retry_after=st.sampled_from([timedelta(0), SECOND]),
    signal=st.one_of(st.none(), signals),
    watched=st.booleans(),
)
quiet = st.builds(
    PoolObservation,
    successes=st.integers(0, 500),
    ignored=st.integers(0, 50),
    in_flight=st.integers(0, 300),
)
drops = st.builds(
    PoolObservation,
    dropped=st.integers(1, 50),
    successes=st.integers(0, 50),
    in_flight=st.integers(0, 300),
)
excess = st.builds(
    PoolObservation,
    signal=st.builds(signal, st.integers(-300, -1)),
    dropped=st.integers(0, 5),
    in_flight=st.integers(0, 300),
)
trouble = st.one_of(drops, excess)


def in_full_use(state: LimitState, successes: int) -> PoolObservation:
    return PoolObservation(successes=successes, in_flight=slots(state))


@given(seen=st.lists(observations, max_size=30))
def test_the_limit_stays_within_its_bounds(seen):
    state = initial(RULES)

    for one in seen:
        state = fold(state, one, RULES)

        assert RULES.floor <= state.limit <= RULES.ceiling
        assert RULES.floor <= slots(state) <= RULES.ceiling


@given(state=states, seen=trouble)
def test_trouble_takes_away_at_least_a_slot(state, seen):
    assert fold(state, seen, RULES).limit <= max(RULES.floor, state.limit - 1)


@given(state=states, seen=drops)
def test_drops_take_away_half_at_most_and_never_what_still_runs(state, seen):
    after = fold(state, seen, RULES)

    assert after.limit >= min(state.limit - 1, state.limit / 2)
    assert after.limit >= min(state.limit - 1, state.limit * RULES.cut, seen.in_flight)


@given(state=states, room=st.integers(-50, -1), in_flight=st.integers(0, 300))
def test_the_watch_takes_away_what_it_names_from_what_is_in_use(state, room, in_flight):
    after = fold(state, PoolObservation(signal=signal(room), in_flight=in_flight), RULES)

    used = min(state.limit, in_flight)
    assert after.limit == max(RULES.floor, min(used + room, state.limit - 1))


@given(one=states, other=states, seen=trouble)
def test_a_cut_keeps_the_order_of_limits(one, other, seen):
    if one.limit > other.limit:
        one, other = other, one

    assert fold(one, seen, RULES).limit <= fold(other, seen, RULES).limit


@given(state=states, seen=trouble)
def test_slow_start_ends_at_the_first_trouble(state, seen):
    after = fold(state, seen, RULES)

    assert not after.slow_start
    assert after.last_brake is (Brake.DROPPED if seen.signal is None else seen.signal.brake)
    assert after.reason
    assert after.braked_at == NOW


@given(state=states, later=st.lists(quiet, max_size=10))
def test_slow_start_never_begins_again(state, later):
    state = fold(state, PoolObservation(dropped=1), RULES)

    for seen in later:
        state = fold(state, seen, RULES)

    assert not state.slow_start


@given(state=states, seen=quiet)
def test_the_limit_grows_only_while_at_least_half_of_it_is_used(state, seen):
    grown = fold(state, seen, RULES).limit > state.limit

    assert not grown or (seen.successes > 0 and 2 * seen.in_flight >= slots(state))


@given(state=states, ignored=st.integers(0, 100), in_flight=st.integers(0, 300))
def test_faults_of_requests_move_nothing(state, ignored, in_flight):
    assert fold(state, PoolObservation(ignored=ignored, in_flight=in_flight), RULES) == state


@given(state=states, successes=st.integers(0, 100_000))
def test_one_fold_grows_by_one_round_trip_at_most(state, successes):
    after = fold(state, in_full_use(state, successes), RULES)

    most = 2 * state.limit if state.slow_start else state.limit + RULES.step
    assert after.limit <= most


@given(state=states, parts=st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_folding_in_pieces_is_about_folding_at_once(state, parts):
    successes = min(sum(parts), int(state.limit))  # one round trip
    pieces, left = [], successes
    for part in parts:
        pieces.append(min(part, left))
        left -= pieces[-1]
    used = PoolObservation(in_flight=2 * RULES.ceiling)

    at_once = fold(state, used + PoolObservation(successes=successes), RULES)
    in_pieces = state
    for piece in pieces:
        in_pieces = fold(in_pieces, used + PoolObservation(successes=piece), RULES)

    assert in_pieces.limit == pytest.approx(at_once.limit, rel=0.1)


def test_slow_start_doubles_per_round_trip():
    state = initial(RULES)

    limits = []
    for _ in range(4):
        state = fold(state, in_full_use(state, slots(state)), RULES)
        limits.append(slots(state))

    assert limits == [16, 32, 64, 128]


def test_after_trouble_a_round_trip_adds_one_step():
    state = fold(LimitState(limit=50.0), PoolObservation(dropped=1, in_flight=50), RULES)

    after = fold(state, in_full_use(state, 45), RULES)

    assert after.limit == pytest.approx(46.0)


def test_trouble_that_lasts_leaves_the_floor():
    state = LimitState(limit=200.0)

    for _ in range(60):
        state = fold(state, PoolObservation(dropped=3), RULES)

    assert slots(state) == RULES.floor


def test_from_the_floor_it_grows_again():
    rules = LimitSettings(floor=1, step=1.0)
    state = LimitState(limit=1.0, slow_start=False)

    for _ in range(20):
        state = fold(state, in_full_use(state, slots(state)), rules)

    assert slots(state) >= 10


def test_bounds_that_have_moved_hold_with_the_next_fold():
    low, high = LimitState(limit=1.0), LimitState(limit=999.0)

    assert fold(low, PoolObservation(), RULES).limit == RULES.floor
    assert fold(high, PoolObservation(), RULES).limit == RULES.ceiling


@pytest.mark.parametrize(
    ("start", "limit"), [(1, 2.0), (8, 8.0), (1000, 200.0)], ids=["below", "within", "above"]
)
def test_the_start_is_kept_within_the_bounds(start, limit):
    assert initial(LimitSettings(floor=2, ceiling=200, start=start)).limit == limit


def test_observations_add_up():
    one = PoolObservation(successes=1, dropped=2, ignored=3, in_flight=4, retry_after=SECOND)
    other = PoolObservation(successes=10, in_flight=40, signal=signal(-2), watched=True)

    assert one + other == PoolObservation(
        successes=11,
        dropped=2,
        ignored=3,
        in_flight=44,
        retry_after=SECOND,
        signal=signal(-2),
        watched=True,
    )


@given(seen=excess)
def test_calls_beyond_the_limit_are_aborted_for_a_while_after_the_watch_has_braked(seen):
    after = fold(LimitState(limit=50.0), seen, RULES)

    assert after.aborts(NOW)
    assert not after.aborts(NOW + limits.ABORT_FOR)


@pytest.mark.parametrize(
    ("slots", "running", "users"),
    [(30, 46, False), (30, 47, True), (60, 56, False), (60, 57, True)],
)
def test_no_call_is_aborted_while_all_requests_can_be_calls_of_executors(slots, running, users):
    told = replace(signal(-5), running=float(running), waiting=4.0)
    seen = PoolObservation(signal=told, in_flight=30, slots=slots)

    after = fold(LimitState(limit=50.0), seen, RULES)

    assert after.limit == 25.0
    assert after.aborts(NOW) == users


@given(state=states, seen=drops)
def test_drops_abort_nothing(state, seen):
    assert not fold(state, seen, RULES).aborts(NOW)


def test_nothing_grows_before_the_time_that_the_endpoint_named():
    asked = PoolObservation(dropped=1, in_flight=50, retry_after=9 * SECOND)
    full = PoolObservation(successes=50, in_flight=50)
    state = fold(LimitState(limit=50.0), asked, RULES)

    held = fold(state, full, RULES, NOW + 8 * SECOND)
    free = fold(state, full, RULES, NOW + 9 * SECOND)

    assert state.last_brake is Brake.RETRY_AFTER
    assert held.limit == state.limit < free.limit


def test_what_the_watch_finds_free_is_added_at_once():
    state = LimitState(limit=10.0, slow_start=False)

    assert fold(state, PoolObservation(signal=signal(7), in_flight=10), RULES).limit == 17


def test_free_slots_that_were_added_already_are_not_added_again():
    """The engine does not show yet the calls that an earlier fold made room for."""
    state = LimitState(limit=17.0, slow_start=False)

    assert fold(state, PoolObservation(signal=signal(7), in_flight=10), RULES).limit == 17


def test_growth_waits_for_the_word_of_the_watch():
    state = LimitState(limit=10.0)
    full = PoolObservation(successes=10, in_flight=10)

    assert fold(state, full + PoolObservation(watched=True), RULES).limit == 10
    assert fold(state, full + PoolObservation(watched=True, signal=signal(0)), RULES).limit == 10


def test_probes_in_time_add_more_once_there_was_no_trouble_for_a_while():
    state = fold(LimitState(limit=20.0), PoolObservation(dropped=2, in_flight=20), RULES)
    in_time = PoolObservation(in_flight=20, signal=signal(1, Brake.PROBE))

    soon = fold(state, in_time, RULES, NOW + SECOND)
    later = fold(state, in_time, RULES, NOW + 2 * SECOND)

    assert (soon.limit - state.limit, later.limit - state.limit) == (1.0, 2.0)


@given(in_flight=st.integers(10, 19), dropped=st.integers(1, 9))
def test_what_still_runs_beside_refused_calls_is_left_to_the_judgement_of_a_watch(
    in_flight, dropped
):
    seen = PoolObservation(in_flight=in_flight, dropped=dropped)
    state = LimitState(limit=20.0, slow_start=False)

    watched = fold(state, replace(seen, watched=True), RULES)
    unwatched = fold(state, seen, RULES)

    assert watched.limit == max(in_flight, 20 - dropped)
    assert unwatched.limit == min(watched.limit, 20 * RULES.cut)


def test_until_the_watch_knows_how_much_fits_successes_decide():
    full = PoolObservation(successes=10, in_flight=10, watched=True)
    unsure = fold(LimitState(limit=10.0), full + PoolObservation(signal=signal(None)), RULES)

    later = fold(unsure, replace(full, successes=20, in_flight=20), RULES)
    sure = fold(later, PoolObservation(signal=signal(0), watched=True), RULES)

    assert (unsure.limit, later.limit) == (20, 40)
    assert fold(sure, replace(full, in_flight=40), RULES).limit == 40


@given(drops=st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_drops_leave_a_call_where_the_watch_cannot_say_how_much_fits(drops):
    rules = LimitSettings(floor=0)
    state = initial(rules)

    for dropped in drops:
        seen = PoolObservation(dropped=dropped, signal=signal(None), watched=True)
        state = fold(state, seen, rules)

        assert slots(state) >= 1


def test_a_pool_that_the_watch_has_emptied_gets_a_call_when_the_watch_knows_no_more():
    rules = LimitSettings(floor=0)
    emptied = fold(LimitState(limit=3.0), PoolObservation(signal=signal(-9), watched=True), rules)

    back = fold(emptied, PoolObservation(signal=signal(None), watched=True), rules)

    assert (slots(emptied), slots(back)) == (0, 1)


@given(state=states, hours=st.floats(0, 100))
def test_what_was_learned_ages_towards_an_unknown_pool(state, hours):
    start = initial(RULES).limit

    after = aged(state, timedelta(hours=hours), RULES)

    assert abs(after.limit - start) <= abs(state.limit - start)
    assert (after.limit - start) * (state.limit - start) >= 0


def test_an_idle_pool_goes_half_of_the_way_back_in_each_half_life():
    state = LimitState(limit=108.0, slow_start=False)

    assert aged(state, RULES.half_life, RULES).limit == pytest.approx(58)
    assert aged(state, 2 * RULES.half_life, RULES).limit == pytest.approx(33)
    assert aged(state, timedelta(seconds=59), RULES) == state


@pytest.mark.parametrize(
    "wrong",
    [{"floor": -1}, {"floor": 9, "ceiling": 8}, {"cut": 1.0}, {"cut": 0.0}, {"step": 0.0}],
    ids=str,
)
def test_senseless_rules_are_refused(wrong):
    with pytest.raises(ValueError, match="LimitSettings"):
        LimitSettings(**wrong)


def test_a_long_retry_after_keeps_the_limit_from_growing_for_a_minute_only():
    day = PoolObservation(dropped=1, in_flight=8, retry_after=timedelta(days=1))
    state = fold(LimitState(limit=9.0, slow_start=False), day, RULES)
    used = in_full_use(state, successes=8)

    assert fold(state, used, RULES, NOW + 59 * SECOND).limit == state.limit
    assert fold(state, used, RULES, NOW + 61 * SECOND).limit > state.limit


def test_a_hold_that_an_earlier_version_has_stored_is_shortened():
    state = LimitState(limit=8.0, held_until=NOW + timedelta(days=1))

    assert fold(state, PoolObservation(), RULES).held_until == NOW + timedelta(minutes=1)


def test_a_restart_that_drops_all_calls_is_recovered_from_in_two_round_trips():
    state = LimitState(limit=64.0, slow_start=False)
    now = NOW
    for running in (6, 4, 3, 1, 0, 0, 0, 0):  # in eight folds: nothing is left of 64
        state = fold(state, PoolObservation(dropped=8, in_flight=running), RULES, now)
        now += SECOND / 5
    assert slots(state) <= 4

    now += 15 * SECOND
    state = fold(state, in_full_use(state, 1), RULES, now)
    assert state.limit == 32
    state = fold(state, in_full_use(state, 32), RULES, now + 15 * SECOND)

    assert state.limit == 64


def test_refusals_while_most_calls_go_on_are_no_restart():
    state = fold(LimitState(limit=64.0), PoolObservation(dropped=8, in_flight=56), RULES)

    after = fold(state, in_full_use(state, slots(state)), RULES, NOW + 15 * SECOND)

    assert after.limit == state.limit + RULES.step


def test_new_trouble_on_the_way_back_lowers_what_is_come_back_to():
    state = LimitState(limit=32.0, recover_to=64.0, braked_at=NOW)

    later = fold(state, PoolObservation(dropped=32), RULES, NOW + 60 * SECOND)

    assert later.recover_to == 64 * RULES.cut


def test_calls_that_take_no_whole_millisecond_are_quick_and_not_slow() -> None:
    state = initial(RULES)
    for _ in range(100):
        state = fold(state, PoolObservation(successes=9, busy_ms=0, work=100, in_flight=9), RULES)

    assert state.slowness.slower == 1.0
    assert state.limit > RULES.start


def test_a_stored_baseline_of_zero_is_learned_anew() -> None:
    stored = LimitState(limit=8.0, slowness=LatencyBaseline(usual=0.0, now=0.0, calls=9.0))

    state = fold(stored, PoolObservation(successes=9, busy_ms=900, work=90, in_flight=9), RULES)

    assert state.slowness.usual == 10.0


@given(st.lists(st.tuples(observations, st.integers(0, 9)), max_size=9), learned)
def test_whatever_was_seen_and_learned_can_be_folded(seen, state) -> None:
    for observed, seconds in seen:
        state = fold(aged(state, seconds * SECOND, RULES), observed, RULES)
        assert RULES.floor <= state.limit <= RULES.ceiling
