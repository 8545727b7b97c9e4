from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.engine_response import decode
from batch_gateway.core.retry import CallOutcome, judge, judge_response, pause

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


#: Every status that means something of its own: (outcome, tried again, counts, alive).
TABLE = {
    200: (CallOutcome.SUCCESS, False, True, True),
    400: (CallOutcome.IGNORED, False, True, True),
    404: (CallOutcome.IGNORED, False, True, True),
    413: (CallOutcome.IGNORED, False, True, True),
    422: (CallOutcome.IGNORED, False, True, True),
    501: (CallOutcome.IGNORED, False, True, True),
    401: (CallOutcome.IGNORED, True, False, False),
    403: (CallOutcome.IGNORED, True, False, False),
    408: (CallOutcome.DROPPED, True, True, None),
    409: (CallOutcome.IGNORED, True, True, None),
    425: (CallOutcome.IGNORED, True, True, None),
    429: (CallOutcome.DROPPED, True, False, True),
    500: (CallOutcome.IGNORED, True, True, None),
    502: (CallOutcome.DROPPED, True, True, False),
    503: (CallOutcome.DROPPED, True, False, False),
    504: (CallOutcome.DROPPED, True, True, False),
    522: (CallOutcome.DROPPED, True, True, False),
    529: (CallOutcome.DROPPED, True, False, False),
    101: (CallOutcome.IGNORED, True, True, None),
    307: (CallOutcome.IGNORED, True, True, None),
    999: (CallOutcome.IGNORED, True, True, None),
}


@pytest.mark.parametrize(("status", "meaning"), TABLE.items())
def test_each_status_means_what_the_table_says(status, meaning):
    verdict = judge(status)

    assert (verdict.outcome, verdict.again, verdict.counts, verdict.alive) == meaning
    assert verdict.unauthorized is (status in (401, 403))


MODEL = b'{"error": {"message": "The model `x` does not exist.", "code": 404}}'


def judged(status, body, **facts):
    return judge_response(status, None if body is None else decode(body), **facts)


def test_an_error_with_status_200_is_judged_by_its_code_and_always_counts():
    full = judged(200, b'{"error": {"message": "slow down", "code": 429}}')
    wrong = judged(200, b'{"error": {"message": "no", "code": "context_length_exceeded"}}')
    vague = judged(200, b'{"error": {"message": "boom"}}')

    assert (full.verdict.outcome, full.verdict.again, full.verdict.counts) == (
        CallOutcome.DROPPED,
        True,
        True,
    )
    assert (wrong.verdict.again, wrong.status) == (False, 400)
    assert (vague.verdict.again, vague.status) == (True, 500)


def test_a_200_that_is_no_json_is_tried_again_and_counts():
    verdict = judged(200, None).verdict

    assert (verdict.again, verdict.counts) == (True, True)


def test_a_missing_route_is_tried_again_and_a_missing_model_is_not():
    assert not judged(404, MODEL).verdict.again
    for body in (b'{"detail": "Not Found"}', b'{"error": {"message": "File Not Found"}}', None):
        route = judged(404, body)
        assert (route.verdict.again, route.verdict.counts) == (True, True)
        assert "no such route" in route.problem


def test_a_redirect_says_where_it_leads():
    assert "https://new/v1" in judged(308, None, leads_to="https://new/v1").problem


def test_a_refused_key_is_the_requests_own_fault_if_it_has_brought_one_or_others_are_let_in():
    assert judged(401, None).verdict.unauthorized

    own = judged(401, None, own_credentials=True).verdict
    alone = judged(403, None, others_admitted=True).verdict

    assert (own.again, own.unauthorized, own.admitted) == (False, False, False)
    assert (alone.again, alone.counts, alone.unauthorized) == (True, True, False)


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
