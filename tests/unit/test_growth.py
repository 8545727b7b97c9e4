"""Whatever a user sends is read in time that grows with its length, not with its square."""

import json

import pytest
from fixtures.growth import assert_linear

from batch_gateway.core import engine_response, tracing
from batch_gateway.core.batch_request import canonical
from batch_gateway.core.chaining import check_template, request_line
from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.json_splice import splice_members
from batch_gateway.core.validation import LineValidator, deeper
from batch_gateway.core.window import parse_window
from batch_gateway.web.cloudevents import UndecodableEvent, decode
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.inline import take_requests
from batch_gateway.web.openai import CreateBatch
from batch_gateway.web.parsing import parse
from batch_gateway.web.ranges import requested


def refused(work, error=InvalidRequest):
    """``work``, which may refuse what it is given by raising ``error``."""

    def quietly(given):
        try:
            work(given)
        except error:
            return

    return quietly


@pytest.mark.parametrize("piece", ["{{ ", " ", "{{", "{{ }", "{", "}}", "{{a}}", "{{\t\n", "{{/a/"])
@pytest.mark.parametrize("start", ["", "{{"])
def test_templates(piece, start):
    # A template has 64 KiB at most, so the limit itself is lifted: only the search counts.
    assert_linear(refused(lambda text: check_template({"a": text})), lambda n: start + piece * n)


@pytest.mark.parametrize("piece", ["{{ ", "{{text", "{{text}}", "{{text} "])
def test_filling_a_template(piece):
    answer = {"choices": [{"message": {"content": ""}}]}
    line = json.dumps({"custom_id": "a", "response": {"body": answer}}).encode()

    def fill(text: str) -> None:
        request_line(line, "/v1/chat/completions", {"a": text}, 1 << 30)

    assert_linear(fill, lambda n: piece * n)


CHAT = "/v1/chat/completions"
BODIES = {
    "open brackets": lambda n: b'{"model":"m","messages":[],"x":' + b"[" * n + b"]" * n + b"}",
    "brackets side by side": lambda n: b'{"model":"m","messages":[],"x":[' + b"[]," * n + b"0]}",
    "escaped quotes": lambda n: b'{"model":"m","messages":["' + b'\\"[' * n + b'"]}',
    "a long number": lambda n: b'{"model":"m","messages":[],"max_tokens":' + b"9" * n + b"}",
    "a long fraction": lambda n: b'{"model":"m","messages":[],"temperature":0.' + b"9" * n + b"}",
    "long numbers in a prompt": lambda n: b'{"model":"m","messages":[' + b"9" * n + b"]}",
    "an exponent": lambda n: b'{"model":"m","messages":[],"seed":1e' + b"9" * n + b"}",
    "many keys": lambda n: (
        b'{"model":"m","messages":[],%s"z":0}' % b"".join(b'"%d":0,' % key for key in range(n))
    ),
    "a key again and again": lambda n: (
        b'{"model":"m","messages":[],%s"z":0}' % (b'"model":"m",' * n)
    ),
    "messages without end": lambda n: (
        b'{"model":"m","messages":[%s0]}' % (b'{"role":"system"},' * n)
    ),
    "blanks": lambda n: b'{"model":"m","messages":[' + b" " * n + b"]}",
    "token ids": lambda n: b'{"model":"m","messages":[],"prompt":[' + b"1," * n + b"1]}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_lines(body):
    validator = LineValidator(CHAT, models=frozenset(), strict=True, twins=True)
    line = b'{"custom_id":"a","method":"POST","url":"%s","body":%s}'

    assert_linear(lambda raw: validator.check(1, raw), lambda n: line % (CHAT.encode(), body(n)))


@pytest.mark.parametrize("raw", [b'["', b'"\\"', b"[]", b'"[', b'\\"'])
def test_counting_levels(raw):
    assert_linear(lambda text: deeper(text, 10), lambda n: raw * n)


def test_splicing_a_model_into_a_body():
    assert_linear(
        lambda body: splice_members(body, {"model": b'"m"'}),
        lambda n: b'{"model":1%s}' % (b',"a":"\\""' * n),
    )


@pytest.mark.parametrize(
    "body",
    [lambda n: b'{"requests":[' + b"{}," * n + b"{}]}", lambda n: b'{"requests":' + b"[" * n],
    ids=["many", "deep"],
)
def test_requests_of_a_batch(body):
    assert_linear(refused(take_requests), body)


@pytest.mark.parametrize(
    "body",
    [
        lambda n: b'{"metadata":{%s"z":""}}' % b"".join(b'"%d":"",' % key for key in range(n)),
        lambda n: b'{"endpoint":"' + b"x" * n + b'"}',
        lambda n: b"[" * n,
        lambda n: b'{"priority":' + b"9" * n + b"}",
    ],
    ids=["keys", "text", "deep", "number"],
)
def test_bodies(body):
    assert_linear(refused(lambda raw: parse(CreateBatch, raw)), body)


@pytest.mark.parametrize(
    "body",
    [
        lambda n: b"[" + b"{}," * n + b"{}]",
        lambda n: b"{" + b'"a":"b",' * n + b'"a":1}',
        lambda n: b"[" * n,
        lambda n: b'{"id":' + b"9" * n + b"}",
        lambda n: b'{"data_base64":"' + b"=" * n + b'"}',
    ],
    ids=["many", "keys", "deep", "number", "base64"],
)
@pytest.mark.parametrize("kind", ["cloudevents", "cloudevents-batch"])
def test_events(body, kind):
    headers = {"content-type": f"application/{kind}+json"}

    assert_linear(refused(lambda raw: decode(headers, raw), UndecodableEvent), body)


@pytest.mark.parametrize("body", [lambda n: b"[" * n, lambda n: b"9" * n, lambda n: b'["a",' * n])
def test_signed_data(body):
    assert_linear(canonical, body)


@pytest.mark.parametrize(
    "text", [lambda n: "bytes=" + " " * n, lambda n: "bytes=" + "0" * n, lambda n: "bytes=0-1," * n]
)
def test_ranges(text):
    assert_linear(
        refused(lambda value: requested({"range": value}, size=10, etag="e"), ApiError), text
    )


@pytest.mark.parametrize("text", [lambda n: "9" * n, lambda n: " " * n, lambda n: "00-" * n])
def test_short_texts(text):
    assert_linear(refused(parse_window), text)
    assert_linear(tracing.valid, text)


def test_answers_of_engines():
    assert_linear(
        engine_response.decode,
        lambda n: b'{"usage":{"x":"%s"},"choices":[%s0]}' % (b"a" * n, b'{"a":1},' * n),
    )
