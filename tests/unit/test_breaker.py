"""The circuit breaker, without an endpoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.breaker import (
    CLOSED,
    Breaker,
    BreakerRules,
    allows,
    failed,
    gave_up,
    started,
)

RULES = BreakerRules(failures=3, first_s=1.0, longest_s=8.0)


def opened(at: float = 0.0) -> Breaker:
    state = CLOSED
    for _ in range(RULES.failures):
        state = failed(state, at, RULES, trial=False)
    return state


def test_it_opens_after_enough_failures_in_a_row():
    state = CLOSED
    for _ in range(2):
        state = failed(state, 0.0, RULES, trial=False)
        assert allows(state, 0.0)

    state = failed(state, 0.0, RULES, trial=False)

    assert not state.closed
    assert not allows(state, 0.9)


def test_half_open_it_allows_one_trial_at_a_time():
    state = opened()
    assert allows(state, 1.0)

    state = started(state)

    assert not allows(state, 100.0)


def test_a_vain_trial_opens_it_for_longer_up_to_the_longest():
    state, now = opened(), 1.0
    pauses = []
    for _ in range(5):
        state = failed(started(state), now, RULES, trial=True)
        pauses.append(state.retry_at - now)
        now = state.retry_at

    assert pauses == [2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_trial_that_was_cut_says_nothing():
    state = gave_up(started(opened()), trial=True)

    assert allows(state, 1.0)


def test_failures_of_calls_that_ran_before_it_opened_change_nothing():
    state = opened()

    assert failed(state, 0.5, RULES, trial=False) == state
    assert failed(started(state), 5.0, RULES, trial=False) == started(state)


def test_starting_calls_of_a_closed_breaker_changes_nothing():
    assert started(CLOSED) == CLOSED


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"first_s": 0}, {"first_s": 9, "longest_s": 8}])
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="a breaker"):
        BreakerRules(**wrong)


class Calls:
    """Calls of one endpoint that go on side by side."""

    def __init__(self) -> None:
        self.state = CLOSED
        self.running: list[bool] = []  # whether each is a trial
        self.now = 0.0
        self.broken = 0  # in a row, counted apart from the breaker

    def start(self) -> None:
        if allows(self.state, self.now):
            self.running.append(not self.state.closed)
            self.state = started(self.state)

    def end(self, kind: str) -> None:
        if not self.running:
            return
        trial = self.running.pop()
        if kind == "ok":
            self.state, self.broken = CLOSED, 0
        elif kind == "failed":
            self.state = failed(self.state, self.now, RULES, trial=trial)
            self.broken += 1
        else:
            self.state = gave_up(self.state, trial=trial)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["start", "ok", "failed", "cut"]),
            st.floats(0.01, 20.0),
        ),
        max_size=60,
    )
)
def test_it_is_open_only_after_failures_and_never_for_ever(steps):
    calls = Calls()
    for step in steps:
        if isinstance(step, float):
            calls.now += step
        elif step == "start":
            calls.start()
        else:
            calls.end(step)
        if not calls.state.closed:
            assert calls.broken >= RULES.failures
            assert sum(calls.running) <= 1
            assert calls.state.retry_at <= calls.now + RULES.longest_s
            if not calls.state.trying:
                assert allows(calls.state, calls.now + RULES.longest_s)
        else:
            assert allows(calls.state, calls.now)
