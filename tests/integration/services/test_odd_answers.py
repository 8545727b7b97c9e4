"""Invalid answers of engines, over real TCP: each line ends, and its error describes the answer."""

import asyncio
import gzip
import json
import zlib

import pytest
from fixtures.raw_engine import GOOD, engine, http
from fixtures.world import chat_lines

from batch_gateway.core.model import BatchBlockedReason, BatchStatus
from batch_gateway.services.batches.completion_estimates import CompletionEstimates
from batch_gateway.settings import EngineMonitorSettings, RetrySettings

pytestmark = pytest.mark.redis


def lines(texts):
    made = chat_lines(len(texts))
    for line, text in zip(made, texts, strict=True):
        line["custom_id"] = text
        line["body"]["messages"][0]["content"] = text
    return made


ANSWERS = {
    "good": http(GOOD),
    "negative": http(b'{"usage":{"prompt_tokens":-5,"completion_tokens":1.0}}'),
    "huge": http(b'{"usage":{"prompt_tokens":9223372036854775808,"completion_tokens":7}}'),
    "largest": http(b'{"usage":{"prompt_tokens":9223372036854775807}}'),
    "largest too": http(b'{"usage":{"prompt_tokens":9223372036854775807}}'),
    "header": http(GOOD, head=b"x-request-id: r-\xff\xfe\x80\r\n"),
    "half a pair": http(rb'{"text":"\ud800"}'),
    "byte order mark": http(b"\xef\xbb\xbf" + GOOD),
    "NaN": http(b'{"embedding":[NaN]}'),
    "page": http(b"<html>Bad gateway \x00\xff</html>"),
    "error": http(b'{"error":{"message":"slow down","code":429}}'),
    "redirect": http(b"", b"307 Moved", b"location: https://u:secret@elsewhere/v1?t=secret\r\n"),
    "no route": http(b'{"detail":"Not Found"}', b"404 Not Found"),
    "no model": http(b'{"error":{"message":"The model is unknown"}}', b"404 Not Found"),
    "never": http(b"", b"501 Not Implemented"),
    "long wait": http(b"no", b"418 Odd", b"retry-after: 300000000000\r\n"),
}


async def test_each_odd_answer_ends_its_own_line_and_is_shown(make_world):
    async with engine(lambda text, _: ANSWERS[text]) as url:
        world = make_world(
            inference_url=url,
            retry=RetrySettings(attempts=2, backoff_s=0.01),
            watching=EngineMonitorSettings(metrics=False, probe=False),
        )

        batch = await world.run(await world.submit(lines(ANSWERS)))

        output, errors = await world.results(batch)
    assert batch.status is BatchStatus.COMPLETED
    assert [line["custom_id"] for line in output] == list(ANSWERS)[:8]
    assert output[5]["response"]["request_id"] == "r-\ufffd\ufffd\ufffd"
    assert output[6]["response"]["body"] == {"text": "\ud800"}
    assert batch.usage.input_tokens == 2**63 - 1
    shown = {line["custom_id"]: json.dumps(line, ensure_ascii=False) for line in errors}
    for name, words in {
        "NaN": "[NaN]",
        "page": "<html>Bad gateway",
        "error": "slow down",
        "redirect": "https://elsewhere/v1",
        "no route": "Not Found",
        "no model": "The model is unknown",
        "never": "501",
        "long wait": "no",
    }.items():
        assert words in shown[name]
    assert "secret" not in shown["redirect"]


def chunked(*pieces):
    sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + sent


def unframed(body, version=b"1.1"):
    return b"HTTP/%b 200 OK\r\nconnection: close\r\n\r\n%b" % (version, body)


#: Answers that are results, and what stands in the output file: None is GOOD.
RESULTS = {
    "cookies": (http(GOOD, head=b"set-cookie: a=\xff\x80\r\nSet-Cookie: b=\x00c\r\n"), None),
    "a thousand cookies": (http(GOOD, head=b"set-cookie: a=b\r\n" * 1000), None),
    "no reason": (http(GOOD, b"200"), None),
    "folded header": (http(GOOD, head=b"x-a: b\r\n c\r\n"), None),
    "upgrade offered": (http(GOOD, head=b"upgrade: h2c\r\nconnection: upgrade\r\n"), None),
    "interim": (b"HTTP/1.1 103 Hints\r\nlink: <x>\r\n\r\n" * 3 + http(GOOD), None),
    "chunks": (chunked(GOOD[:9], GOOD[9:], b""), None),
    "trailer": (chunked(GOOD) + b"0\r\nx-t: \xff\r\n\r\n", None),
    "until closed": (unframed(GOOD), None),
    "HTTP/1.0": (unframed(GOOD, b"1.0"), None),
    "gzip": (http(gzip.compress(GOOD), head=b"content-encoding: gzip\r\n"), None),
    "deflate": (http(zlib.compress(GOOD), head=b"content-encoding: deflate\r\n"), None),
    "garbage behind": (http(GOOD) + b"\x00garbage", None),
    "a second answer": (http(GOOD) + http(b'{"of": "no request"}'), None),
    "keys twice": (http(b'{"a":1,"usage":{},"a":2}'), b'{"a":1,"usage":{},"a":2}'),
    "no choices": (http(b"{}"), b"{}"),
    "deep": (http(b'{"a":' * 500 + b"1" + b"}" * 500), b'{"a":' * 500 + b"1" + b"}" * 500),
    "a NUL": (http(rb'{"a":"\u0000"}'), rb'{"a":"\u0000"}'),
    "long number": (http(b'{"a":%b}' % (b"9" * 4000)), b'{"a":%b}' % (b"9" * 4000)),
    **{
        f"usage {usage.decode()}": (http(body), body)
        for usage in (
            *(b'"7"', b"7", b"true", b"null", b"[7]", b"1e400"),
            *(b'{"prompt_tokens":"7"}', b'{"prompt_tokens":true}', b'{"prompt_tokens":0.5}'),
            *(b'{"prompt_tokens":{"prompt_tokens":7}}', b'{"prompt_tokens":1e999}'),
        )
        for body in [b'{"usage":%b}' % usage]
    },
}

#: Answers that are none, and what the error line says of them.
SHOWN = {
    "UTF-16": (http('{"a":1}'.encode("utf-16")), "answered 200 without JSON"),
    "events": (http(b'data: {"id":"x"}\n\ndata: [DONE]\n\n'), 'data: {"id":"x"}'),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "answered 204 without JSON: the answer is empty"),
    "empty": (http(b""), "the answer is empty"),
    "array": (http(b"[1, 2]"), "[1, 2]"),
    "too deep": (http(b'{"a":' * 5000), '{"a":{"a":'),
    "too long a number": (http(b'{"a":%b}' % (b"9" * 5000)), '{"a":9999'),
    "error beside nothing": (
        http(b'{"error":{"message":"boom","code":400},"choices":null,"object":"chat.completion"}'),
        "boom",
    ),
    "redirect with JSON": (
        http(b'{"moved":true}', b"308 Moved", b"location: https://elsewhere/v2\r\n"),
        "it redirects to https://elsewhere/v2",
    ),
    "redirect without": (http(b"", b"302 Found"), "without saying where"),
    "304": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 90\r\n\r\n", "304"),
    "another protocol": (
        b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "switches to another protocol",
    ),
    "no status": (http(GOOD, b"20 OK"), "begins with 'HTTP/1.1 20 OK"),
    "SSH": (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "begins with 'SSH-2.0-OpenSSH_9.9"),
    "HTTP/0.9": (b"<html>old</html>\r\n\r\n", "begins with '<html>old"),
    "cut off": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\nconnection: close\r\n\r\n{",
        "cut off",
    ),
    "cut chunks": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\n{}\r\n",
        "cut off",
    ),
    "a length below zero": (
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n{}",
        "Content-Length",
    ),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        "Content-Length",
    ),
    "no chunk": (chunked() + b"zz\r\n{}\r\n", "chunk size"),
    "no gzip": (http(GOOD, head=b"content-encoding: gzip\r\n"), "decompressing"),
    "half a gzip": (
        http(gzip.compress(GOOD)[:-9], head=b"content-encoding: gzip\r\n"),
        "compressed body was cut off",
    ),
    "a gzip of nothings": (
        http(gzip.compress(b"") * 20_000, head=b"content-encoding: gzip\r\n"),
        "4096 compressed parts",
    ),
    "brotli": (http(GOOD, head=b"content-encoding: br\r\n"), "content coding br"),
    "a long head": (http(GOOD, head=b"x: %b\r\n" % (b"y" * 600_000)), "around its body"),
    "tiny chunks": (chunked(*[b" "] * 400_000), "around its body"),
    "599": (http(b"odd", b"599 Odd"), "answered 599: odd"),
    "retry-after": (http(b"no", b"418 Odd", b"retry-after: Wed, 99 Xyz 9 9:9\r\n"), "418"),
}


async def test_answers_are_results_or_say_what_is_wrong_with_them(make_world):
    wires = {name: wire for name, (wire, _) in (RESULTS | SHOWN).items()}
    async with engine(lambda text, _: wires[text]) as url:
        world = make_world(
            inference_url=url,
            retry=RetrySettings(attempts=2, backoff_s=0.01),
            watching=EngineMonitorSettings(metrics=False, probe=False),
        )

        batch = await world.run(await world.submit(lines(wires)))

        output, errors = await world.results(batch)
        raw = b"".join([piece async for piece in world.files.read(f"files/{batch.output_file_id}")])
    assert batch.status is BatchStatus.COMPLETED
    assert [line["custom_id"] for line in output] == list(RESULTS)
    for line, (_, kept) in zip(raw.splitlines(), RESULTS.values(), strict=True):
        assert (kept or GOOD) in line
    shown = {line["custom_id"]: json.dumps(line, ensure_ascii=False) for line in errors}
    told = {name: words in shown[name].replace('\\"', '"') for name, (_, words) in SHOWN.items()}
    assert [(name, shown[name]) for name in told if not told[name]] == []
    assert shown.keys() == SHOWN.keys()


async def blocked_reason(world, batch):
    estimates = CompletionEstimates(world.coordination, world.routes, world.clock, ceiling=64)
    [found] = await estimates.add([await world.reload(batch)])
    return found.blocked_reason


async def test_a_rotated_key_pauses_the_endpoint_and_fails_no_line(make_world):
    key = b"new"
    refused = 0

    def answer(text, fields):
        nonlocal refused
        if fields[b"authorization"] == b"bearer " + key:
            return http(GOOD)
        refused += 1
        return http(b'{"error":"no such key"}', b"401 Unauthorized")

    async with engine(answer) as url:
        world = make_world(
            inference_url=url,
            inference_key="old",
            retry=RetrySettings(attempts=2, backoff_s=0.01),
            watching=EngineMonitorSettings(metrics=False, probe=False),
        )
        batch = await world.submit(lines([str(n) for n in range(500)]))
        running = asyncio.create_task(world.run(batch))
        try:
            async with asyncio.timeout(45):
                while (
                    await blocked_reason(world, batch)
                    is not BatchBlockedReason.ENDPOINT_UNAUTHORIZED
                ):
                    await asyncio.sleep(0.05)
            assert refused < 40
            key = b"old"  # the operator has put things right
            batch = await asyncio.wait_for(running, 30)
        finally:
            running.cancel()

    assert (batch.counts.completed, batch.counts.failed) == (500, 0)


async def test_a_line_that_is_forbidden_beside_others_that_are_not_fails_alone(make_world):
    def answer(text, _):
        return http(GOOD) if text != "7" else http(b'{"error":"blocked"}', b"403 Forbidden")

    async with engine(answer) as url:
        world = make_world(
            inference_url=url,
            retry=RetrySettings(attempts=2, backoff_s=0.01),
            watching=EngineMonitorSettings(metrics=False, probe=False),
        )

        batch = await world.run(await world.submit(lines([str(n) for n in range(200)])))

        _, errors = await world.results(batch)
    assert [line["custom_id"] for line in errors] == ["7"]
    assert errors[0]["response"]["status_code"] == 403
