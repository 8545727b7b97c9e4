"""What is fuzzed: each target takes any bytes and raises only when something is wrong.

A refusal is right; any other exception, and any result that breaks a promise, is a finding.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import parse_qsl

import msgspec
from fixtures.hostile_metrics import draw_metrics
from fixtures.hostile_play import ServedWorlds, play

from batch_gateway.core.batch_request import objects_of, verified
from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.filenames import safe_name
from batch_gateway.core.lines import (
    ShardLine,
    custom_id_of,
    decode_input,
    decode_shard_line,
    encode_shard_lines,
    not_answered,
)
from batch_gateway.core.model import BatchError
from batch_gateway.core.validation import REFUSALS, LineValidator
from batch_gateway.simulator.hostile import ConnectionEnding, HostileAnswer, draw_hostile
from batch_gateway.web import cloudevents, internal_events
from batch_gateway.web.batch_request import asked
from batch_gateway.web.extensions import asked_filter
from batch_gateway.web.header_values import attachment
from batch_gateway.web.inline import take_requests
from batch_gateway.web.multipart import MultipartForm
from batch_gateway.web.parsing import cursor, integer
from fuzz.responses import ResponseReader

CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Target:
    run: Callable[..., None]  # takes ``together`` inputs
    seeds: Sequence[bytes]
    cost: int = 1  # of one run, in those of the quick targets
    together: int = 1


def _brief(refusal: Exception) -> None:
    """A refusal never repeats more of the input than a little."""
    assert len(str(refusal)) <= 2100


def _body(url: str, **fields: object) -> bytes:
    line = {"custom_id": "a\u00e9", "method": "POST", "url": url, "body": {"model": "m", **fields}}
    return json.dumps(line).encode()


LINES = (
    _body(CHAT, messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]),
    _body(CHAT, messages=[{"role": "user", "content": [{"type": "text", "text": "a"}]}], seed=1),
    _body(CHAT, messages=[{"role": "assistant", "tool_calls": [{"id": "1"}]}], tools=[{"a": 1}]),
    _body(CHAT, messages=[], max_tokens=5, temperature=0, stream=False),
    _body("/v1/completions", prompt=[[1, 2, 3], [4]]),
    _body("/v1/embeddings", input=["a", "b"]),
    _body("/v1/responses", input=[{"type": "message", "content": "x"}], instructions="i"),
    _body("/v1/moderations", input="x"),
    b"garbage",
    b"",
)


def line(data: bytes) -> None:
    """A line is refused for one of the known reasons, or its body survives the way to a shard."""
    for strict in (False, True):
        validator = LineValidator("*", models=frozenset({"m"}), strict=strict, twins=True)
        found = validator.check(1, data)
        if isinstance(found, BatchError):
            assert found.code in REFUSALS | {"model_not_found"}
            assert found.line == 1
            assert len(found.message) < 1000
            continue
        request = decode_input(data)
        assert isinstance(request.custom_id, str)
        assert isinstance(request.url, str)
        assert isinstance(request.body, msgspec.Raw)
        stored = ShardLine(1, request.custom_id, request.url, found.model, request.body)
        again = decode_shard_line(encode_shard_lines([stored]).rstrip(b"\n"))
        assert bytes(again.body) == bytes(request.body)
    not_answered("batch_1", 1, custom_id_of(data), code="x", message="y")  # type: ignore[arg-type]


_PART = b'--frontier\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
FORMS = (
    _PART % (b"purpose", b"", b"batch")
    + _PART % (b"file", b'; filename="in.jsonl"', LINES[0])
    + b"--frontier--\r\n",
    _PART % (b"file", b"; filename*=utf-8''donn%C3%A9es.jsonl", b"{}") + b"--frontier--\r\n",
    _PART % (b"file", b'; filename="=?utf-8?B?ZG9ubsOpZXMuanNvbmw=?="', b"") + b"--frontier--",
    _PART % (b"expires_after[seconds]", b"; x=y; FileName=a", b"3600") + b"--frontier--\r\n",
)


def form(data: bytes) -> None:
    """A form is malformed, or its parts come with names that are safe everywhere."""
    asyncio.run(_read(data))


async def _read(data: bytes) -> None:
    step = 1 + len(data) % 97

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), step):
            yield data[start : start + step]

    try:
        async for part in MultipartForm("multipart/form-data; boundary=frontier", chunks()).parts():
            if part.filename is None:
                await part.text()
            else:
                name = safe_name(part.filename)
                assert name.isprintable()
                assert attachment(name).isascii()
                assert "/" not in name
                async for _ in part.chunks():
                    pass
    except InvalidRequest as refusal:
        _brief(refusal)


_EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/them",
    "type": "x",
    "time": "2026-01-01T00:00:00Z",
}
_ASKED = {"requests": [{"custom_id": "a"}], "endpoint": CHAT, "completion_window": "24h"}
_RECORD = {
    "eventName": "s3:ObjectCreated:Put",
    "s3": {"bucket": {"name": "b"}, "object": {"key": "in/a%20b.jsonl"}},
}
EVENTS = (
    json.dumps({**_EVENT, "data": _ASKED}).encode(),
    json.dumps({**_EVENT, "data": {"Records": [_RECORD]}, "gwsignature": "00"}).encode(),
    json.dumps({**_EVENT, "data_base64": "e30="}).encode(),
    json.dumps({**_EVENT, "datacontenttype": "text/plain", "data": "text"}).encode(),
    json.dumps([_EVENT, {**_EVENT, "id": "2"}]).encode(),
    json.dumps(
        {**_EVENT, "type": "dev.batchgateway.batch.created.v1", "data": {"batch_id": "b"}}
    ).encode(),
    json.dumps(_ASKED).encode(),
)
_HEADERS = {f"ce-{name}": value for name, value in _EVENT.items()}


def event(data: bytes) -> None:
    """An event is refused as undecodable, or everything that reads it later can."""
    text = data.decode("latin-1").partition("\n")[0]
    for headers in (
        {"content-type": "application/cloudevents+json"},
        {"content-type": "application/cloudevents-batch+json; charset=utf-8"},
        {**_HEADERS, "content-type": "application/json"},
        {**_HEADERS, "ce-subject": text, "content-type": text},
        {**_HEADERS, "ce-time": text, "ce-id": text},
    ):
        _foreign(headers, data)
        try:
            internal_events.decode(headers, data)
        except cloudevents.UndecodableEvent as refusal:
            _brief(refusal)


def _foreign(headers: Mapping[str, str], data: bytes) -> None:
    try:
        events = cloudevents.decode(headers, data)
    except cloudevents.UndecodableEvent as refusal:
        _brief(refusal)
        return
    for one in events:
        verified([b"key"], one)
        assert one.time is None or one.time.tzinfo is not None
        try:
            asked(one.data)
        except InvalidRequest as refusal:
            _brief(refusal)
        try:
            list(objects_of(msgspec.json.decode(one.data)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # intake refuses it with these


FILTERS = (
    b"status=completed&model=a&metadata[team]=red&created_after=1&created_before=99&limit=5",
    b"after=2&limit=20&order=asc&purpose=batch",
    b"after=batch_1&created_after=253402300799",
    json.dumps(_ASKED).encode(),
)


def query(data: bytes) -> None:
    """A listing's query is refused, or becomes a filter that a database takes."""
    found = dict(parse_qsl(data.decode(errors="surrogateescape"), keep_blank_values=True))
    try:
        only = asked_filter(found)
        integer(found, "limit", default=20, minimum=0, maximum=100)
        cursor(found, offsets=True)
    except InvalidRequest as refusal:
        _brief(refusal)
        return
    texts = [only.model or "", *only.metadata, *only.metadata.values()]
    assert not any("\x00" in text for text in texts)


def requests(data: bytes) -> None:
    """The requests inside a batch's body are taken out, each on one line, or refused."""
    try:
        _, taken = take_requests(data)
    except InvalidRequest as refusal:
        _brief(refusal)
        return
    assert not any(b"\n" in one for one in taken or ())


_drawn = Random(1)
ANSWERS = (
    *(draw_hostile(_drawn).wire for _ in range(60)),
    *(draw_metrics(_drawn) for _ in range(5)),
)
_served = ServedWorlds()


_FATES = (
    ConnectionEnding.KEEP,
    ConnectionEnding.CLOSE,
    ConnectionEnding.HOLD,
    ConnectionEnding.DRIP,
)
_NEVER = 1_000_000  # failures in a row
_OFTEN = (6, 6, 1, 1)  # one that is held costs a time-out


def answer(*inputs: bytes) -> None:
    """An engine that says this to some lines, at /metrics too, harms none of the other lines.

    So that many lines run at once, neither failures nor metrics lower the limit or open the
    breaker here; in ``test_hostile_answers`` they do.
    """
    lines = []
    for data in inputs:
        wires = [data, data[: len(data) // 2], data[len(data) // 2 :]]
        ends = Random(data).choices(_FATES, _OFTEN, k=3)
        lines.append([HostileAnswer(*each, b"\0") for each in zip(wires, ends, strict=True)])
    _served.run(lambda make: play(make, lines, inputs, shard_lines=25, breaker_failures=_NEVER))


_client = ResponseReader()


def response(data: bytes) -> None:
    """What a client reads of an answer is bounded, and no part of the next call's answer."""
    _client.run(data)


TARGETS = {
    "lines": Target(line, LINES),
    "forms": Target(form, FORMS),
    "events": Target(event, EVENTS),
    "filters": Target(query, FILTERS),
    "requests": Target(requests, [*EVENTS, b'{"requests":[{"a":1},{"b":\n2}],"endpoint":"x"}']),
    "responses": Target(response, ANSWERS, cost=5),
    "answers": Target(answer, ANSWERS, cost=500, together=48),
}
