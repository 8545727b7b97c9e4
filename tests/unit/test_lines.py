import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.ids import BatchId, result_id
from batch_gateway.core.lines import (
    NO_TOKENS,
    Malformed,
    ShardLine,
    answered,
    attempted,
    copied,
    decode_part_line,
    decode_shard_line,
    encode_part_line,
    encode_shard_line,
    not_answered,
    tokens_of,
)

BATCH = BatchId("batch_1")


def line(body=b"{}", number=3):
    return ShardLine(number, "mine", "/v1/chat/completions", "m", msgspec.Raw(body))


def answer(body, status=200):
    return answered(BATCH, line(), status=status, request_id="r-1", body=body)


def test_a_body_survives_byte_for_byte():
    body = b'{"seed":12345678901234567890123,"b":1.50,"a":"\xc3\xa4","z":{"y":[1, 2]}}'

    there = decode_shard_line(encode_shard_line(line(body)))

    assert bytes(there.body) == body


def test_an_answer_survives_but_for_line_ends():
    body = b'{"id": 98765432109876543210,\r\n "text": "a\\nb"}\n'

    part = encode_part_line(answer(body))

    assert part.count(b"\n") == 1
    assert b'{"id": 98765432109876543210,   "text": "a\\nb"}' in part


def test_a_result_line_has_openais_four_keys():
    result = json.loads(bytes(answer(b'{"x":1}').result))

    assert list(result) == ["id", "custom_id", "response", "error"]
    assert result["response"] == {"status_code": 200, "request_id": "r-1", "body": {"x": 1}}
    assert result["error"] is None


def test_the_result_id_is_the_same_for_every_run_of_a_line():
    first = json.loads(bytes(answer(b"{}").result))
    again = json.loads(bytes(answer(b"{}", status=500).result))

    assert first["id"] == again["id"]
    assert first["id"].startswith("batch_req_")


@pytest.mark.parametrize(("status", "ok"), [(200, True), (201, True), (400, False), (500, False)])
def test_only_2xx_is_a_success(status, ok):
    assert answer(b"{}", status=status).ok is ok


def test_a_line_that_never_ran_has_no_response():
    part = not_answered(BATCH, 3, "mine", code="batch_expired", message="too late")
    result = json.loads(bytes(part.result))

    assert part.ok is False
    assert result["response"] is None
    assert result["error"] == {"code": "batch_expired", "message": "too late"}


def test_a_note_counts_neither_as_success_nor_as_failure():
    note = decode_part_line(encode_part_line(attempted(3, 2)))

    assert note.ok is None
    assert (note.tally.completed, note.tally.failed) == (0, 0)
    assert note.tokens[0] == 2


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7}, (5, 0, 7, 0)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            (5, 4, 7, 3),
        ),
        ({"prompt_tokens": 5, "prompt_tokens_details": None}, (5, 0, 0, 0)),
        (
            {
                "input_tokens": 5,
                "output_tokens": 7,
                "input_tokens_details": {"cached_tokens": 1},
                "output_tokens_details": {"reasoning_tokens": 2},
            },
            (5, 1, 7, 2),
        ),
        ("strange", (0, 0, 0, 0)),
        (None, (0, 0, 0, 0)),
    ],
)
def test_tokens_are_read_from_every_kind_of_usage(usage, tokens):
    assert tokens_of(json.dumps({"usage": usage}).encode()) == tokens


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"text", b"{", b'{"a":"\xff"}', b'{"a":' + b"[" * 9999]
)
def test_an_answer_that_is_not_a_json_object_is_malformed(body):
    with pytest.raises(Malformed):
        answer(body)


@given(
    st.dictionaries(
        st.text(), st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_any_answer_comes_out_as_it_went_in(answered_with):
    part = decode_part_line(encode_part_line(answer(json.dumps(answered_with, indent=2).encode())))

    assert json.loads(bytes(part.result))["response"]["body"] == answered_with


def test_a_copy_is_the_same_answer_under_another_name_and_cost_nothing():
    body = b'{"n": 12345678901234567890.10, "usage": {"prompt_tokens": 5, "completion_tokens": 2}}'
    original = answered(BATCH, line(b"{}"), status=200, request_id="engine-1", body=body)

    copy = copied(BATCH, original, 9, "other")

    shown, first = json.loads(bytes(copy.result)), json.loads(bytes(original.result))
    assert (copy.line, copy.ok, copy.tokens, copy.saved) == (9, True, NO_TOKENS, 7)
    assert shown == first | {"id": result_id(BATCH, 9), "custom_id": "other"}
    assert body in bytes(copy.result)


def test_a_line_that_has_no_answer_is_copied_too():
    original = not_answered(BATCH, 3, "mine", code="request_timeout", message="m")

    copy = copied(BATCH, original, 9, "other")

    shown = json.loads(bytes(copy.result))
    assert (copy.ok, copy.saved, shown["custom_id"]) == (False, 0, "other")
    assert (shown["response"], shown["error"]["code"]) == (None, "request_timeout")


def test_lines_of_older_shards_and_parts_are_still_read():
    assert decode_shard_line(b'[1,"mine","/v1/x","m",{}]').copies == []
    assert decode_part_line(b"[1,true,[1,0,2,0],{}]").saved == 0
