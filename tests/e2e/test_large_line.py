"""One request of 50 MB, such as images in base64 make: it reaches the engine byte for byte."""

import base64
import hashlib
import random

import pytest

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024
SIZE = 50_000_000


def image_line(custom_id: str, size: int) -> tuple[bytes, bytes]:
    """A line of about ``size`` bytes, and its body."""
    image = base64.b64encode(random.Random(7).randbytes(size * 3 // 4))
    body = (
        b'{"model":"sim-large","max_tokens":4,"messages":[{"role":"user","content":[{"type":'
        b'"image_url","image_url":{"url":"data:image/png;base64,' + image + b'"}}]}]}'
    )
    head = f'{{"custom_id":"{custom_id}","method":"POST","url":"/v1/chat/completions","body":'
    return head.encode() + body + b"}\n", body


async def test_a_line_of_50_mb_reaches_the_engine_as_it_is(start_gateway, start_endpoint):
    engine = await start_endpoint()
    gateway = await start_gateway(
        inference_url=engine.url,
        settings={
            "planning": {"max_line_bytes": 64 * MIB},
            "inference": {"models": ["sim-large"]},
        },
    )
    large, sent = image_line("large", SIZE)
    small, _ = image_line("small", 1000)

    batch = await gateway.ended(await gateway.submit(large + small))
    output, _ = await gateway.results(batch)

    assert len(large) > SIZE
    assert batch.request_counts.completed == 2
    assert [line["custom_id"] for line in output] == ["large", "small"]
    arrived = {hashlib.sha256(arrival.body).hexdigest() for arrival in engine.arrivals}
    assert hashlib.sha256(sent).hexdigest() in arrived


async def test_a_longer_line_than_configured_fails_the_batch(start_gateway):
    gateway = await start_gateway(settings={"planning": {"max_line_bytes": MIB}})
    large, _ = image_line("large", 2 * MIB)

    batch = await gateway.ended(await gateway.submit(large))

    assert batch.status == "failed"
    assert [(error.line, error.code) for error in batch.errors.data] == [(1, "line_too_long")]
