import json
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.batch_create_params import BatchCreateParams

from batch_gateway.core.model import BatchError
from batch_gateway.core.validation import (
    ENDPOINTS,
    EXTENDED_ENDPOINTS,
    LineValidator,
    ValidLine,
)

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def check(line, *, endpoint=CHAT, models=(), strict=False):
    raw = line if isinstance(line, bytes) else json.dumps(line).encode()
    return LineValidator(endpoint, models=frozenset(models), strict=strict).check(7, raw)


def request(**changes):
    return {"custom_id": "a", "method": "POST", "url": CHAT, "body": BODY} | changes


def body(**changes):
    return request(body=BODY | changes)


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


def test_the_endpoints_are_those_of_openai_s_batches():
    """As its SDK has them now."""
    named = get_args(get_type_hints(BatchCreateParams)["endpoint"])

    assert set(named) == set(ENDPOINTS)


def test_a_good_line_is_valid():
    found = check(request())

    assert isinstance(found, ValidLine)
    assert (found.custom_id, found.model) == ("a", "m")


def test_messages_that_cannot_be_decoded_are_valid_and_have_their_place_in_the_order():
    """JSON's grammar allows a number of any size; the decoder has no value for this one."""
    raw = json.dumps(request()).encode()
    odd, other = (raw.replace(b'"hi"', number) for number in (b"1e999", b"2e999"))

    found = [check(line, strict=strict) for line in (odd, other) for strict in (False, True)]

    assert all(isinstance(one, ValidLine) for one in found)
    assert len({one.prefix for one in found}) == 2


@pytest.mark.parametrize("name", ["custom_id", "method", "url", "body"])
def test_each_missing_parameter_is_named(name):
    error = check(without(request(), name))

    assert error == BatchError(
        code="missing_required_parameter",
        message=f"Missing required parameter: '{name}'.",
        param=name,
        line=7,
    )


@pytest.mark.parametrize(
    "raw",
    [b"{", b"nonsense", b'{"custom_id": "a"} x', b'"text"', b'\xff{"a": 1}', b"[" * 100_000],
    ids=["cut", "text", "trailing", "string", "utf8", "deep"],
)
def test_a_line_that_is_not_a_json_object_is_named(raw):
    assert check(raw).code == "invalid_json_line"
    assert check(raw).line == 7


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (request(url="/v1/embeddings"), "invalid_url", "url"),
        (request(url="http://elsewhere/v1/chat/completions"), "invalid_url", "url"),
        (request(method="GET"), "invalid_method", "method"),
        (request(custom_id=7), "invalid_type", "custom_id"),
        (request(body=[]), "invalid_request", "body"),
        (body(stream=True), "streaming_unsupported", "body.stream"),
        (request(body=without(BODY, "model")), "invalid_request", "body.model"),
        (body(model=7), "invalid_request", "body.model"),
        (body(model=""), "invalid_request", "body.model"),
        (body(model="m\0"), "invalid_request", "body.model"),
        (body(model="m" * 257), "invalid_request", "body.model"),
        (request(body=without(BODY, "messages")), "invalid_request", "body.messages"),
        (body(messages="hi"), "invalid_request", "body.messages"),
    ],
)
def test_what_is_wrong_with_a_line_is_named_with_its_parameter(line, code, param):
    error = check(line)

    assert (error.code, error.param, error.line) == (code, param, 7)


def test_half_a_character_is_no_text():
    assert isinstance(check(rb'{"custom_id":"\ud800","method":"POST"}'), BatchError)


def test_stream_false_is_fine():
    assert isinstance(check(body(stream=False)), ValidLine)


def test_content_may_be_an_array_of_parts():
    parts = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "x"}}]

    assert isinstance(check(body(messages=[{"role": "user", "content": parts}])), ValidLine)


@pytest.mark.parametrize(
    ("endpoint", "param"),
    [
        ("/v1/embeddings", "input"),
        ("/v1/moderations", "input"),
        ("/v1/completions", "prompt"),
    ],
)
def test_other_endpoints_need_their_input_in_strict_mode(endpoint, param):
    good = request(url=endpoint, body={"model": "m", param: ["x"]})
    bad = request(url=endpoint, body={"model": "m"})

    assert isinstance(check(good, endpoint=endpoint, strict=True), ValidLine)
    assert check(bad, endpoint=endpoint, strict=True).param == f"body.{param}"
    assert isinstance(check(bad, endpoint=endpoint), ValidLine)


ENGINES_BODIES = [
    ("/v1/embeddings", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
    ("/v1/completions", {"model": "m", "prompt_embeds": "AAAA", "max_tokens": 5}),
    ("/v1/responses", {"model": "m", "prompt": {"id": "pmpt_1"}}),
    ("/v1/score", {"model": "m", "text_1": "a", "text_2": ["b", "c"]}),
    ("/v1/rerank", {"model": "m", "query": "a", "documents": ["b", "c"]}),
]


@pytest.mark.parametrize(("endpoint", "given"), ENGINES_BODIES, ids=lambda value: str(value)[:15])
def test_the_engine_decides_what_a_body_needs(endpoint, given):
    found = check(request(url=endpoint, body=given), endpoint=endpoint)

    assert isinstance(found, ValidLine)
    assert found.model == "m"


@pytest.mark.parametrize("endpoint", sorted(set(EXTENDED_ENDPOINTS) - {CHAT}))
def test_a_model_need_not_be_named_where_none_is_needed_to_route(endpoint):
    bare, null = ({"input": "hi", **more} for more in ({}, {"model": None}))
    lines = [request(url=endpoint, body=body) for body in (bare, null)]

    for models, meant in (((), "default"), (["only"], "only"), (["a", "default"], "default")):
        found = [check(line, endpoint=endpoint, models=models) for line in lines]
        assert [line.model for line in found] == [meant, meant]
    for line in lines:
        assert check(line, endpoint=endpoint, models=["a", "b"]).param == "body.model"
        assert check(line, endpoint=endpoint, strict=True).param == "body.model"


@pytest.mark.parametrize("endpoint", ["/v1/score", "/v1/rerank"])
def test_scores_cost_their_prompt_and_keep_their_order(endpoint):
    found = check(request(url=endpoint, body={"model": "m", "query": "a" * 400}), endpoint=endpoint)

    assert (found.prefix, 100 <= found.cost <= 110) == (b"", True)


def test_unknown_models_are_errors_in_strict_mode_only():
    assert check(request(), models=["other"], strict=True).code == "model_not_found"
    assert isinstance(check(request(), models=["other"]), ValidLine)


def test_a_second_model_is_an_error_in_strict_mode():
    validator = LineValidator(CHAT, models=frozenset(), strict=True)
    validator.check(1, json.dumps(request()).encode())

    error = validator.check(2, json.dumps(body(model="n")).encode())

    assert (error.code, error.param, error.line) == ("mismatched_model", "body.model", 2)


def test_the_cost_counts_prompt_and_answer():
    short = check(body(max_tokens=10))
    long = check(body(max_tokens=1000))

    assert long.cost - short.cost == pytest.approx(990, abs=2)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.binary()
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(["custom_id", "method", "url", "body"]), json_values).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_no_line_however_strange_is_anything_but_valid_or_an_error(raw):
    assert isinstance(check(raw), ValidLine | BatchError)


@pytest.mark.parametrize("url", EXTENDED_ENDPOINTS)
def test_any_endpoint_may_be_named_when_the_batch_has_none_of_its_own(url):
    everything = BODY | {"input": "text", "prompt": "text"}

    assert isinstance(check(request(url=url, body=everything), endpoint="*"), ValidLine)


@pytest.mark.parametrize("url", sorted(set(EXTENDED_ENDPOINTS) - set(ENDPOINTS)))
def test_strict_mode_has_no_endpoints_but_those_of_openai(url):
    assert check(request(url=url), endpoint="*", strict=True).code == "invalid_url"


@pytest.mark.parametrize("url", ["*", "/v1/files", "/v1/chat/completions/../files", "", "//evil"])
def test_nothing_but_an_endpoint_may_be_named(url):
    assert check(request(url=url), endpoint="*").code == "invalid_url"
