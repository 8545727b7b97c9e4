"""Inputs and answers that have made batch services fail, through the whole running service."""

import json

import httpx
import pytest
from fixtures.gateway import CHAT, chat_lines, encoded
from fixtures.raw_engine import GOOD, engine, http

pytestmark = pytest.mark.e2e

#: Answers that are kept byte for byte, and what each adds to the usage: input, cached and output.
KEPT = {
    "negative": (b'{"usage":{"prompt_tokens":-7,"completion_tokens":2}}', (0, 0, 2)),
    "negative detail": (
        b'{"usage":{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":-1}}}',
        (3, 0, 0),
    ),
    "beyond 63 bits": (b'{"usage":{"prompt_tokens":9223372036854775808}}', None),
    "floats": (b'{"usage":{"prompt_tokens":1.0,"completion_tokens":2.0}}', (1, 0, 2)),
    "half a pair": (rb'{"text":"\ud800"}', (0, 0, 0)),
    "byte order mark": (b'\xef\xbb\xbf{"text":"x"}', (0, 0, 0)),
}
WRAPPED = b'{"error": {"message": "context too long", "code": 400}}'
FORM = (
    b"--b\r\ncontent-disposition: form-data; name=purpose\r\n\r\nbatch\r\n"
    b'--b\r\ncontent-disposition: form-data; name=file; filename="=?utf-8?B?ZG9ubuKAmQ==?=";'
    b" filename*=utf-8''donn%%C3%%A9es.jsonl\r\n"
    b"content-type: application/octet-stream\r\n\r\n%b\r\n--b--\r\n"
)


def answer(text, _):
    if text == "refused":
        return http(b'{"error":{"message":"later"}}', b"429 Too Many Requests")
    if text == "wrapped":
        return http(WRAPPED)
    return http(KEPT[text][0] if text in KEPT else GOOD)


def asking(texts):
    lines = chat_lines(len(texts))
    for line, text in zip(lines, texts, strict=True):
        line["custom_id"] = text
        line["body"]["messages"] = [{"role": "user", "content": text}]
    return lines


def asking_elsewhere(url, **body):
    return {
        "custom_id": url,
        "method": "POST",
        "url": url,
        "body": {"model": "sim-large", **body},
    }


async def test_each_has_the_right_end(start_gateway):
    async with engine(answer) as url:
        gateway = await start_gateway(
            inference_url=url,
            settings={
                "retry": {"attempts": 2, "backoff_s": 0.05},
                "watching": {"metrics": False, "probe": False},
            },
        )
        refused = await gateway.submit(asking(["refused"]))
        kept = await gateway.submit(asking(KEPT))
        wrapped = await gateway.submit(asking(["wrapped", "good"]))
        vllm = [
            await gateway.submit([line], endpoint=line["url"])
            for line in (
                asking_elsewhere("/v1/embeddings", messages=[{"role": "user", "content": "x"}]),
                asking_elsewhere("/v1/completions", prompt_embeds="AAAA"),
            )
        ]
        media = await gateway.submit(
            [
                asking_elsewhere("/v1/images/generations", prompt="a tent", n=2),
                asking_elsewhere("/v1/images/edits", prompt="a tent", images=[{"file_id": "f"}]),
                asking_elsewhere("/v1/videos", prompt="a tent", seconds="4"),
                asking_elsewhere("/v1/responses", input=[{"role": "user", "content": "hi"}]),
            ],
            endpoint="*",
        )
        broken = b"no JSON object\n" + encoded(chat_lines(2))
        unread = await gateway.submit(broken)
        skipping = await skipping_invalid_lines(gateway, broken)

        await a_waiting_line_starves_no_batch(gateway, refused)
        await odd_counts_are_kept_and_bounded(gateway, await gateway.ended(kept))
        await an_error_in_a_200_is_an_error(gateway, await gateway.ended(wrapped))
        for batch in vllm:
            assert (await gateway.ended(batch)).request_counts.completed == 1
        assert (await gateway.ended(media)).request_counts.completed == 4
        await the_first_line_is_judged_with_the_batch(gateway, unread, skipping)
        await the_encoded_file_name_wins(gateway)


async def skipping_invalid_lines(gateway, content):
    file = await gateway.client.files.create(file=("b.jsonl", content), purpose="batch")
    return await gateway.client.batches.create(
        input_file_id=file.id,
        endpoint=CHAT,
        completion_window="24h",
        extra_body={"on_invalid_line": "skip"},
    )


async def a_waiting_line_starves_no_batch(gateway, refused):
    fine = await gateway.ended(await gateway.submit(asking(["fine"])), seconds=30)
    assert fine.request_counts.completed == 1
    assert (await gateway.client.batches.retrieve(refused.id)).status == "in_progress"
    cancelled = await gateway.client.batches.cancel(refused.id)
    assert (await gateway.ended(cancelled)).status == "cancelled"


async def odd_counts_are_kept_and_bounded(gateway, batch):
    assert (batch.status, batch.request_counts.completed) == ("completed", len(KEPT))
    raw = await gateway.client.files.content(batch.output_file_id)
    for content, _ in KEPT.values():
        assert content.removeprefix(b"\xef\xbb\xbf") in raw.content
    counted = [usage for _, usage in KEPT.values() if usage is not None]
    assert batch.usage.output_tokens == sum(output for _, _, output in counted)
    assert batch.usage.input_tokens_details.cached_tokens == 0
    assert sum(read for read, _, _ in counted) <= batch.usage.input_tokens <= 2**63 - 1


async def an_error_in_a_200_is_an_error(gateway, batch):
    output, errors = await gateway.results(batch)
    assert [line["custom_id"] for line in output] == ["good"]
    assert [line["custom_id"] for line in errors] == ["wrapped"]
    assert "context too long" in json.dumps(errors)


async def the_first_line_is_judged_with_the_batch(gateway, unread, skipping):
    failed = await gateway.ended(unread)
    assert failed.status == "failed"
    assert [(error.code, error.line) for error in failed.errors.data] == [("invalid_json_line", 1)]
    skipped = await gateway.ended(skipping)
    assert (skipped.status, skipped.request_counts.completed) == ("completed", 2)
    assert skipped.request_counts.failed == 1


async def the_encoded_file_name_wins(gateway):
    async with httpx.AsyncClient(base_url=gateway.platform.base_url) as client:
        response = await client.post(
            "/files",
            content=FORM % encoded(chat_lines(1)),
            headers={"content-type": "multipart/form-data; boundary=b"},
        )
    assert (response.status_code, response.json()["filename"]) == (200, "données.jsonl")
