"""What answers of engines are decoded into: nothing of them is larger than where it goes."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.engine_response import MalformedResponse, decode, excerpt
from batch_gateway.core.engine_values import (
    LONGEST_RETRY_AFTER,
    MOST,
    count,
    gauge,
    header,
    location,
    retry_after,
    total,
)


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
        ({"prompt_tokens": 5.0, "completion_tokens": 1.5}, (5, 0, 0, 0)),
        ({"prompt_tokens": -5, "completion_tokens": 2**63}, (0, 0, 0, 0)),
        ({"prompt_tokens": MOST, "completion_tokens": 10**400}, (MOST, 0, 0, 0)),
        ({"prompt_tokens": "5", "completion_tokens": True}, (0, 0, 0, 0)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": -1}}, (5, 0, 0, 0)),
        ({"prompt_tokens": 5, "prompt_tokens_details": [1]}, (5, 0, 0, 0)),
        (None, (0, 0, 0, 0)),
    ],
)
def test_tokens_are_read_from_every_kind_of_usage(usage, tokens):
    assert decode(json.dumps({"usage": usage}).encode()).tokens == tokens


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"text", b"{", b'{"a":"\xff"}', b'{"a":' + b"[" * 9999),
        *(b'{"a":NaN}', b'{"a":Infinity}', b'{"a":"\n"}x', b'{"a":"\x01"}', b"{}{}"),
        b'{"a":' + b"[" * 990 + b"]" * 990 + b"}",  # readers of the result line have less room
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_an_answer_that_is_not_a_json_object_is_malformed(body):
    with pytest.raises(MalformedResponse):
        decode(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' + b"[" * 599 + b"]" * 599 + b"}",
        b'{"a":"' + b"[" * 5000 + b'\\"' + b"[" * 5000 + b'"}',
        b'{"a":[' + b"{}," * 5000 + b"{}]}",
    ],
)
def test_what_is_not_nested_too_deep_is_read(body):
    assert decode(body).text == body


@pytest.mark.parametrize(
    "deep", [b'{"a":' + b"[" * 600 + b"]" * 600 + b"}", b'{"a":' * 601 + b"1" + b"}" * 601]
)
def test_how_deep_is_too_deep_does_not_depend_on_the_parser(deep):
    with pytest.raises(MalformedResponse):
        decode(deep)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"' + b"9" * 5000 + b'"}',
        b'{"a":' + b"9" * 4300 + b"}",
        b'{"a":0.' + b"1" * 5000 + b"}",
    ],
)
def test_many_digits_are_json_where_every_parser_reads_them(body):
    assert decode(body).text == body


def test_a_byte_order_mark_and_line_ends_are_not_part_of_the_text():
    assert decode(b'\xef\xbb\xbf{"a":\r\n 1}\n').text == b'{"a":   1}'


@pytest.mark.parametrize("text", [rb'{"a":"\ud800"}', rb'{"\uDFFF\uD83D":1}', rb'{"a":"\\\udc00"}'])
def test_half_a_surrogate_pair_is_json(text):
    answer = decode(text)

    assert (answer.text, answer.halves) == (text, True)


@pytest.mark.parametrize("text", [rb'{"a":"\ud83d\ude00"}', rb'{"a":"\\ud800"}'])
def test_a_pair_and_an_escaped_backslash_are_no_halves(text):
    assert not decode(text).halves


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ud8ce0 1-.NaN').map(str.encode))
def test_any_body_is_one_object_or_malformed(body):
    try:
        answer = decode(body)
    except MalformedResponse:
        return
    assert isinstance(json.loads(answer.text), dict)
    assert all(0 <= tokens <= MOST for tokens in answer.tokens)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -1, 10**30, 1e308, 1.0, -0.0])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
usages = st.dictionaries(
    st.sampled_from(
        ["prompt_tokens", "completion_tokens", "prompt_tokens_details", "output_tokens_details"]
    ),
    json_values
    | st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens"]), json_values),
)


@given(usage=usages | json_values, error=json_values, kind=json_values)
def test_whatever_an_answer_says_its_counts_are_counts(usage, error, kind):
    answer = decode(json.dumps({"usage": usage, "error": error, "object": kind}).encode())

    assert all(type(n) is int and 0 <= n <= MOST for n in answer.tokens)
    if answer.error is not None and answer.error.status is not None:
        assert 400 <= answer.error.status <= 599


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"message": "m", "code": 429}}, 429),
        ({"error": {"message": "m", "code": "503"}, "user_id": "u"}, 503),
        ({"error": {"message": "m", "type": "rate_limit_error"}}, 429),
        ({"object": "error", "message": "m", "code": 40303}, None),
        ({"error": "boom"}, None),
        ({"error": {"code": True}}, None),
        ({"error": {"code": 400}, "choices": None, "object": "chat.completion"}, 400),
        ({"error": {"code": 400}, "choices": [], "output": None}, 400),
    ],
)
def test_an_error_and_nothing_else_is_an_error(body, status):
    error = decode(json.dumps(body).encode()).error

    assert error is not None
    assert error.status == status


@pytest.mark.parametrize(
    "body",
    [
        {"error": None, "object": "response", "output": []},
        {"error": {"code": "server_error"}, "object": "response", "status": "failed", "output": []},
        {"choices": []},
        {"error": {"code": 400}, "choices": [{"text": "half"}]},
        {},
    ],
)
def test_an_answer_with_more_than_an_error_is_none(body):
    assert decode(json.dumps(body).encode()).error is None


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        (None, None),
        ("7", timedelta(seconds=7)),
        (" 0.5 ", timedelta(seconds=0.5)),
        ("-3", timedelta()),
        ("300000000000", LONGEST_RETRY_AFTER),
        ("9" * 400, LONGEST_RETRY_AFTER),
        ("Fri, 02 Jan 2026 03:04:35 GMT", timedelta(seconds=30)),
        ("Fri, 02 Jan 2026 03:00:00 GMT", timedelta()),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("\udcff", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value, pause):
    assert retry_after(value, now=NOW) == pause


@given(st.text(max_size=600))
def test_any_header_becomes_text_that_can_be_stored(value):
    for text in (header(value), location(value)):
        assert text is None or (len(text) <= 500 and text.encode() and text.isprintable())
    retry_after(value, now=NOW)


def test_a_byte_beyond_ascii_in_a_header_is_replaced():
    assert header("r-\udcff\udc80") == "r-\ufffd\ufffd"


def test_where_a_redirect_leads_is_told_without_secrets():
    assert location("https://user:key@host/v1?token=x#y") == "https://host/v1"


@pytest.mark.parametrize(
    ("spelled", "value"),
    [
        ("3", 3.0),
        ("+Inf", None),
        ("NaN", None),
        ("-1", 0.0),
        ("1e300", 1e9),
        ("x", None),
        ("1" * 500, None),
    ],
)
def test_a_gauge_is_a_number_that_can_be_calculated_with(spelled, value):
    assert gauge(spelled) == value


def test_sums_of_counts_end_where_integers_of_databases_do():
    assert total(MOST, 5) == MOST
    assert count(MOST) == MOST


@given(st.binary(max_size=5000))
def test_an_excerpt_is_short_and_printable(body):
    text = excerpt(body)

    assert len(text) <= 1001
    assert text.isprintable()
