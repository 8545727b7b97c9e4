"""The controller, without a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.limits import (
    LimitRules,
    LimitState,
    Observation,
    fold,
    initial,
    slots,
)

RULES = LimitRules(floor=2, ceiling=200, start=8)

states = st.builds(
    LimitState,
    limit=st.floats(2, 200),
    slow_start=st.booleans(),
    last_brake=st.sampled_from([None, "dropped", "engine"]),
)
observations = st.builds(
    Observation,
    successes=st.integers(0, 500),
    dropped=st.integers(0, 5),
    ignored=st.integers(0, 50),
    in_flight=st.integers(0, 300),
    brake=st.sampled_from([None, "engine"]),
)
quiet = st.builds(
    Observation,
    successes=st.integers(0, 500),
    ignored=st.integers(0, 50),
    in_flight=st.integers(0, 300),
)
trouble = st.sampled_from([Observation(dropped=1), Observation(brake="engine", successes=99)])


def in_full_use(state: LimitState, successes: int) -> Observation:
    return Observation(successes=successes, in_flight=slots(state))


@given(seen=st.lists(observations, max_size=30))
def test_the_limit_stays_within_its_bounds(seen):
    state = initial(RULES)

    for one in seen:
        state = fold(state, one, RULES)

        assert RULES.floor <= state.limit <= RULES.ceiling
        assert RULES.floor <= slots(state) <= RULES.ceiling


@given(state=states, seen=trouble)
def test_trouble_takes_away_at_least_a_slot_but_never_half(state, seen):
    after = fold(state, seen, RULES)

    assert after.limit <= max(RULES.floor, state.limit - 1)
    assert after.limit >= min(state.limit - 1, state.limit * RULES.cut)


@given(one=states, other=states, seen=trouble)
def test_a_cut_keeps_the_order_of_limits(one, other, seen):
    if one.limit > other.limit:
        one, other = other, one

    assert fold(one, seen, RULES).limit <= fold(other, seen, RULES).limit


@given(state=states, seen=trouble)
def test_slow_start_ends_at_the_first_trouble(state, seen):
    after = fold(state, seen, RULES)

    assert not after.slow_start
    assert after.last_brake == (seen.brake or "dropped")


@given(state=states, later=st.lists(quiet, max_size=10))
def test_slow_start_never_begins_again(state, later):
    state = fold(state, Observation(dropped=1), RULES)

    for seen in later:
        state = fold(state, seen, RULES)

    assert not state.slow_start


@given(state=states, seen=quiet)
def test_the_limit_grows_only_while_at_least_half_of_it_is_used(state, seen):
    grown = fold(state, seen, RULES).limit > state.limit

    assert not grown or (seen.successes > 0 and 2 * seen.in_flight >= slots(state))


@given(state=states, ignored=st.integers(0, 100), in_flight=st.integers(0, 300))
def test_faults_of_requests_move_nothing(state, ignored, in_flight):
    assert fold(state, Observation(ignored=ignored, in_flight=in_flight), RULES) == state


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
    used = Observation(in_flight=2 * RULES.ceiling)

    at_once = fold(state, used + Observation(successes=successes), RULES)
    in_pieces = state
    for piece in pieces:
        in_pieces = fold(in_pieces, used + Observation(successes=piece), RULES)

    assert in_pieces.limit == pytest.approx(at_once.limit, rel=0.1)


def test_slow_start_doubles_per_round_trip():
    state = initial(RULES)

    limits = []
    for _ in range(4):
        state = fold(state, in_full_use(state, slots(state)), RULES)
        limits.append(slots(state))

    assert limits == [16, 32, 64, 128]


def test_after_trouble_a_round_trip_adds_one_step():
    state = fold(LimitState(limit=50.0), Observation(dropped=1), RULES)

    after = fold(state, in_full_use(state, 45), RULES)

    assert after.limit == pytest.approx(46.0)


def test_trouble_that_lasts_leaves_the_floor():
    state = LimitState(limit=200.0)

    for _ in range(60):
        state = fold(state, Observation(dropped=3), RULES)

    assert slots(state) == RULES.floor


def test_from_the_floor_it_grows_again():
    rules = LimitRules(floor=1)
    state = LimitState(limit=1.0, slow_start=False)

    for _ in range(20):
        state = fold(state, in_full_use(state, slots(state)), rules)

    assert slots(state) >= 10


def test_bounds_that_have_moved_hold_with_the_next_fold():
    low, high = LimitState(limit=1.0), LimitState(limit=999.0)

    assert fold(low, Observation(), RULES).limit == RULES.floor
    assert fold(high, Observation(), RULES).limit == RULES.ceiling


@pytest.mark.parametrize(
    ("start", "limit"), [(1, 2.0), (8, 8.0), (1000, 200.0)], ids=["below", "within", "above"]
)
def test_the_start_is_kept_within_the_bounds(start, limit):
    assert initial(LimitRules(floor=2, ceiling=200, start=start)).limit == limit


def test_observations_add_up():
    one = Observation(successes=1, dropped=2, ignored=3, in_flight=4)
    other = Observation(successes=10, in_flight=40, brake="engine")

    assert one + other == Observation(
        successes=11, dropped=2, ignored=3, in_flight=44, brake="engine"
    )


@pytest.mark.parametrize(
    "wrong",
    [{"floor": 0}, {"floor": 9, "ceiling": 8}, {"cut": 1.0}, {"cut": 0.0}, {"step": 0.0}],
    ids=str,
)
def test_senseless_rules_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        LimitRules(**wrong)
