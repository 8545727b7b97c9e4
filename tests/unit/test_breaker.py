"""The circuit breaker, without an endpoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.breaker import (
    CLOSED,
    CircuitBreaker,
    allows,
    failed,
    gave_up,
    started,
)
from batch_gateway.settings.endpoints import BreakerEntry

RULES = BreakerEntry(failures=3, pause_s=1.0, pause_max_s=8.0)


def opened(at: float = 0.0) -> CircuitBreaker:
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


def tried(state: CircuitBreaker, now: float) -> CircuitBreaker:
    return started(state, now, RULES)


def test_half_open_another_trial_may_start_while_the_first_goes_on_and_later_each_time():
    state, now, at = opened(), 1.0, []
    for _ in range(5):
        assert allows(state, now)
        at.append(now)
        state = tried(state, now)
        assert not allows(state, now)
        now = state.retry_at

    assert at == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_vain_trial_opens_it_for_longer_up_to_the_longest():
    state, now = opened(), 1.0
    pauses = []
    for _ in range(5):
        state = failed(tried(state, now), now, RULES, trial=True)
        pauses.append(state.retry_at - now)
        now = state.retry_at

    assert pauses == [2.0, 4.0, 8.0, 8.0, 8.0]


def test_of_several_vain_trials_at_once_only_the_first_counts():
    state = tried(tried(opened(), 1.0), 2.0)

    once = failed(state, 3.0, RULES, trial=True)

    assert failed(once, 3.1, RULES, trial=True) == once


def test_a_trial_that_was_cut_says_nothing():
    state = gave_up(tried(opened(), 1.0), 1.5, trial=True)

    assert allows(state, 1.5)


def test_a_trial_whose_end_was_never_told_blocks_the_next_one_for_a_while_only():
    state = tried(opened(), 1.0)

    assert allows(state, 1.0 + RULES.pause_max_s)


def test_failures_of_calls_that_ran_before_it_opened_change_nothing():
    state = opened()

    assert failed(state, 0.5, RULES, trial=False) == state
    assert failed(tried(state, 1.0), 5.0, RULES, trial=False) == tried(state, 1.0)


def test_starting_calls_of_a_closed_breaker_changes_nothing():
    assert tried(CLOSED, 1.0) == CLOSED


def test_the_last_failure_says_whether_the_endpoint_is_away_or_refuses_the_key():
    state = opened()
    assert not state.unauthorized

    state = failed(tried(state, 1.0), 1.1, RULES, trial=True, unauthorized=True)
    assert state.unauthorized

    assert not failed(tried(state, 9.0), 9.1, RULES, trial=True).unauthorized


@pytest.mark.parametrize(
    "wrong", [{"failures": 0}, {"pause_s": 0}, {"pause_s": 9, "pause_max_s": 8}]
)
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="BreakerEntry"):
        BreakerEntry(**wrong)


class Calls:
    """Calls of one endpoint that continue side by side."""

    def __init__(self) -> None:
        self.state = CLOSED
        self.running: list[bool] = []  # whether each is a trial
        self.now = 0.0
        self.broken = 0  # in a row, counted apart from the breaker

    def start(self) -> None:
        if allows(self.state, self.now):
            self.running.append(not self.state.closed)
            self.state = started(self.state, self.now, RULES)

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
            self.state = gave_up(self.state, self.now, trial=trial)


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
            assert calls.state.retry_at <= calls.now + RULES.pause_max_s
            assert allows(calls.state, calls.now + RULES.pause_max_s)
        else:
            assert allows(calls.state, calls.now)
