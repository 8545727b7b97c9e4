"""Engines that answer oddly, over real TCP: each line ends by itself, and says what came."""

import asyncio
import json

import pytest
from fixtures.raw_engine import GOOD, engine, http
from fixtures.world import chat_lines

from batch_gateway.core.model import BatchBlockedReason, BatchStatus
from batch_gateway.services.batches.completion_estimates import CompletionEstimates
from batch_gateway.settings import Retry, Watching

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
            retry=Retry(attempts=2, backoff_s=0.01),
            watching=Watching(metrics=False, probe=False),
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


async def blocked_reason(world, batch):
    estimates = CompletionEstimates(world.scratch, world.routes, world.clock, ceiling=64)
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
            retry=Retry(attempts=2, backoff_s=0.01),
            watching=Watching(metrics=False, probe=False),
        )
        batch = await world.submit(lines([str(n) for n in range(500)]))
        running = asyncio.create_task(world.run(batch))
        try:
            async with asyncio.timeout(20):
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
            retry=Retry(attempts=2, backoff_s=0.01),
            watching=Watching(metrics=False, probe=False),
        )

        batch = await world.run(await world.submit(lines([str(n) for n in range(200)])))

        _, errors = await world.results(batch)
    assert [line["custom_id"] for line in errors] == ["7"]
    assert errors[0]["response"]["status_code"] == 403
