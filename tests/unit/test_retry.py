from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.retry import Outcome, judge, pause

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("status", [429, 503])
def test_a_full_endpoint_is_asked_again_without_counting_against_the_line(status):
    verdict = judge(status)

    assert verdict.outcome is Outcome.DROPPED
    assert verdict.again
    assert not verdict.counts


@pytest.mark.parametrize("status", [408, 502, 504])
def test_a_lost_answer_is_a_drop_that_counts(status):
    verdict = judge(status)

    assert (verdict.outcome, verdict.again, verdict.counts) == (Outcome.DROPPED, True, True)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_the_requests_own_fault_is_final_and_says_nothing_about_the_load(status):
    verdict = judge(status)

    assert (verdict.outcome, verdict.again) == (Outcome.IGNORED, False)


def test_success_is_final():
    assert judge(200).outcome is Outcome.SUCCESS
    assert not judge(200).again


@given(
    tries=st.integers(1, 1000),
    jitter=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.integers(0, 7200).map(lambda s: timedelta(seconds=s)),
)
def test_a_pause_is_bounded_and_honours_retry_after(tries, jitter, retry_after):
    waiting = pause(tries, first=SECOND, longest=MINUTE, retry_after=retry_after, jitter=jitter)

    assert SECOND / 2 <= waiting <= MINUTE * 1.1
    if retry_after is not None:
        assert waiting >= min(retry_after, MINUTE)


def test_pauses_double():
    pauses = [pause(n, first=SECOND, longest=MINUTE, retry_after=None, jitter=0) for n in (1, 2, 3)]

    assert pauses == [SECOND, 2 * SECOND, 4 * SECOND]
