"""Batches whose lines go to several endpoints and models."""

import pytest
from fixtures.world import chat_lines

from batch_gateway.core.model import BatchStatus

pytestmark = pytest.mark.redis


def embedding(number):
    return {
        "custom_id": f"e-{number}",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "sim-small", "input": f"text {number}"},
    }


async def test_each_line_goes_where_it_says(world):
    lines = [line for n, chat in enumerate(chat_lines(6)) for line in (chat, embedding(n))]

    batch = await world.run(await world.submit(lines, endpoint="*"))

    output, errors = await world.results(batch)
    assert (batch.status, errors) == (BatchStatus.COMPLETED, [])
    assert [line["custom_id"] for line in output] == [line["custom_id"] for line in lines]
    kinds = [line["response"]["body"]["object"] for line in output]
    assert kinds == ["chat.completion", "list"] * 6


async def test_a_line_without_an_endpoint_fails_the_batch(world):
    lines = [embedding(1), embedding(2) | {"url": "/v1/files"}]

    batch = await world.run(await world.submit(lines, endpoint="*"))

    assert batch.status is BatchStatus.FAILED
    assert [(error.line, error.code) for error in batch.errors] == [(2, "invalid_url")]
