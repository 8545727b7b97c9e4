import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.engine_response import NO_TOKENS, decode
from batch_gateway.core.ids import BatchId, result_id
from batch_gateway.core.lines import (
    PartLine,
    ShardLine,
    answered,
    attempted,
    copied,
    custom_id_of,
    decode_part_line,
    decode_shard_line,
    encode_part_line,
    encode_shard_lines,
    not_answered,
    stored_result,
)

BATCH = BatchId("batch_1")


def line(body=b"{}", number=3):
    return ShardLine(number, "mine", "/v1/chat/completions", "m", msgspec.Raw(body))


def answer(body, status=200):
    ok = status < 300
    return answered(BATCH, line(), decode(body), status=status, request_id="r-1", ok=ok)


def test_a_body_survives_byte_for_byte():
    body = b'{"seed":12345678901234567890123,"b":1.50,"a":"\xc3\xa4","z":{"y":[1, 2]}}'

    there = decode_shard_line(encode_shard_lines([line(body)]))

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
    original = answered(
        BATCH, line(b"{}"), decode(body), status=200, request_id="engine-1", ok=True
    )

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


HALF = rb'{"text":"\ud800 x","usage":{"prompt_tokens":5}}'


def test_half_a_surrogate_pair_reaches_the_result_line_byte_for_byte():
    part = decode_part_line(encode_part_line(answer(HALF)))

    assert HALF in part.result_line
    assert json.loads(part.result_line)["response"]["body"]["text"] == "\ud800 x"
    assert part.tally.usage.input_tokens == 5


def test_a_copy_of_such_a_result_line_is_one_too():
    original = decode_part_line(encode_part_line(answer(HALF)))

    copy = decode_part_line(encode_part_line(copied(BATCH, original, 9, 'o"th,"response":er')))

    assert HALF in copy.result_line
    assert json.loads(copy.result_line)["custom_id"] == 'o"th,"response":er'


def test_a_result_line_of_a_file_is_stored_and_read_again():
    result_line = answer(HALF).result_line
    part = PartLine(1, True, NO_TOKENS, stored_result(result_line))

    assert decode_part_line(encode_part_line(part)).result_line == result_line
    assert custom_id_of(result_line) == "mine"


def test_counts_of_earlier_versions_that_make_no_sense_are_not_counted():
    part = decode_part_line(b"[1,true,[-5,0,9223372036854775808,3],{}]")

    assert (part.tally.usage.input_tokens, part.tally.usage.output_tokens) == (0, 0)
    assert part.tally.usage.reasoning_tokens == 3
