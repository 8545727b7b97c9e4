"""Statistics of calls: bounded, exact when merged, percentiles within a bucket."""

import random

import msgspec
import pytest

from batch_gateway.core.call_statistics import (
    LAST_BUCKET,
    MINUTE,
    MOST_NAMES,
    MOST_POINTS,
    OTHER,
    CallStatistics,
    bucket,
    percentile,
    upper_bound,
)
from batch_gateway.core.engine_response import decode
from batch_gateway.core.ids import BatchId
from batch_gateway.core.lines import (
    CallRecord,
    ShardLine,
    answered,
    attempted,
    copied,
    decode_part_line,
    encode_part_line,
    not_answered,
)

BATCH = BatchId("batch_a")
USAGE = b'{"usage":{"prompt_tokens":7,"completion_tokens":3}}'


def an_answer(line, *, at=60, took=100, first=-1, ok=True, body=USAGE, status=200, **reasons):
    request = ShardLine(line, f"r{line}", "/v1/x", "m", msgspec.Raw(b"{}"))
    part = answered(BATCH, request, decode(body), status=status, request_id=None, ok=ok)
    part.call = CallRecord(at, took, first, **reasons)
    return part


def of(*lines):
    return CallStatistics.of_lines(map(encode_part_line, lines))


@pytest.mark.parametrize("ms", [0, 0.5, 1, 1.01, 2, 3, 99, 100, 1000, 12345, 4_000_000])
def test_a_duration_lies_within_its_bucket(ms):
    at = bucket(ms)

    assert ms <= upper_bound(at) * (1 + 1e-9)
    assert at == 0 or ms > upper_bound(at - 1) * (1 - 1e-9)


def test_what_is_longer_than_all_buckets_counts_in_the_last():
    assert bucket(10**12) == LAST_BUCKET


def test_percentiles_are_at_most_a_bucket_too_high():
    rng = random.Random(7)
    durations = sorted(round(rng.lognormvariate(6, 1)) for _ in range(2000))
    found = of(*(an_answer(n + 1, took=ms) for n, ms in enumerate(durations)))

    for share in (0.5, 0.9, 0.95, 0.99):
        exact = durations[int(share * len(durations)) - 1]
        told = percentile(found.calls, share)
        assert exact <= told * (1 + 1e-9)
        assert bucket(exact) == bucket(told)
    assert percentile({}, 0.5) is None


def test_lines_count_where_and_when_they_were_finished():
    found = of(
        an_answer(1, at=119, took=50, first=20, retries={"http_429": 2}, aborts={"preempted": 1}),
        an_answer(2, at=120, took=50),
        an_answer(3, at=121, ok=False, status=400, body=b'{"error":{"code":"too_long"}}'),
        attempted(4, 3, call=CallRecord(0, retries={"http_503": 3})),
    )

    assert msgspec.to_builtins(found.timeline, str_keys=True) == {
        "60": [1, 0, 7, 3],
        "120": [1, 1, 7, 3],
    }
    assert (found.retries, found.aborts) == ({"http_429": 2}, {"preempted": 1})
    assert (sum(found.calls.values()), sum(found.first_tokens.values())) == (3, 1)
    assert (found.errors["too_long"].count, found.errors["too_long"].line) == (1, 3)


def test_a_request_that_is_the_same_as_another_is_a_line_but_no_call():
    original = an_answer(1, took=50, retries={"http_429": 1})
    found = of(original, copied(BATCH, original, 2, "r2"))

    assert found.timeline[60].completed == 2
    assert found.timeline[60].input_tokens == 7
    assert sum(found.calls.values()) == 1
    assert found.retries == {"http_429": 1}


def test_lines_of_a_release_without_call_records_count_as_errors_only():
    line = encode_part_line(not_answered(BATCH, 1, "r", code="batch_expired", message="Too late."))
    found = CallStatistics.of_lines([line.replace(b",0,null]", b",0]")])

    assert (found.errors["batch_expired"].count, found.timeline) == (1, {})


def test_an_older_release_reads_lines_with_call_records():
    class OldPartLine(msgspec.Struct, array_like=True):
        line: int
        ok: bool | None
        tokens: tuple[int, int, int, int]
        result: msgspec.Raw
        saved: int = 0

    encoded = encode_part_line(an_answer(1, retries={"http_429": 1}))

    assert msgspec.json.decode(encoded, type=OldPartLine).line == 1
    assert decode_part_line(encoded).call == CallRecord(60, 100, retries={"http_429": 1})


def test_merging_is_the_same_as_adding_all_lines_to_one():
    rng = random.Random(3)
    lines = [
        an_answer(
            n,
            at=rng.randrange(0, 40 * 86400),
            took=rng.randrange(10_000),
            first=rng.choice([-1, 5, 500]),
            retries={f"http_{rng.randrange(400, 404)}": 1},
        )
        for n in range(1, 800)
    ]
    whole = of(*lines)
    parts = [of(*lines[start::7]) for start in range(7)]
    rng.shuffle(parts)
    merged = CallStatistics()
    for part in parts:
        merged.merge(CallStatistics.decoded(part.encoded()))

    assert merged == whole
    assert len(whole.timeline) <= MOST_POINTS
    assert whole.width % MINUTE == 0
    assert sum(point.completed for point in whole.timeline.values()) == len(lines)


def test_whatever_comes_the_size_is_bounded():
    found = CallStatistics()
    for n in range(1, 3000):
        body = b'{"error":{"code":"e%d","message":"%s"}}' % (n, b"x" * 5000)
        found.add(
            an_answer(
                n,
                at=n * 7919,
                took=n * n,
                ok=False,
                status=400,
                body=body,
                retries={f"http_{n}": 1},
            )
        )

    assert len(found.encoded()) < 40_000
    assert len(found.errors) == len(found.retries) == MOST_NAMES + 1
    assert sum(error.count for error in found.errors.values()) == 2999
    assert found.retries[OTHER] == 2999 - MOST_NAMES


@pytest.mark.parametrize("text", ["", "{", "[]", '{"calls":{"a":1}}'])
def test_text_that_is_none_is_empty(text):
    assert CallStatistics.decoded(text).encoded() == ""
