"""What goes beyond OpenAI's API, through the SDK and all functions."""

import json

import pytest
from fixtures.gateway import CHAT, chat_lines, custom_ids
from openai.types import Batch

pytestmark = pytest.mark.e2e

TERMS = {"endpoint": CHAT, "completion_window": "1h"}


async def skips_bad_lines_of_several_endpoints(gateway):
    embedding = {
        "custom_id": "vector",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "sim-small", "input": "text"},
    }
    extensions = {
        "requests": [*chat_lines(2), {"custom_id": "bad"}, embedding],
        "endpoint": "*",
        "on_invalid_line": "skip",
        "priority": 0,
    }

    batch = await gateway.client.post("/batches", cast_to=Batch, body=TERMS | extensions)
    batch = await gateway.ended(batch)

    output, errors = await gateway.results(batch)
    content = (await gateway.client.files.content(batch.input_file_id)).text
    assert [json.loads(line) for line in content.splitlines()] == extensions["requests"]
    assert batch.status == "completed"
    assert custom_ids(output) == ["line-1", "line-2", "vector"]
    assert [(e["custom_id"], e["error"]["code"]) for e in errors] == [
        ("bad", "missing_required_parameter")
    ]


async def runs_dry_and_within_a_budget(gateway):
    inline = TERMS | {"requests": chat_lines(300)}

    before = await gateway.arrivals()
    dry = await gateway.client.post("/batches", cast_to=Batch, body=inline | {"dry_run": True})
    dry = await gateway.ended(dry)
    arrived = await gateway.arrivals()
    frugal = await gateway.client.post(
        "/batches", cast_to=Batch, body=inline | {"max_total_tokens": 5000}
    )
    frugal = await gateway.ended(frugal)

    output, errors = await gateway.results(frugal)
    assert (dry.status, dry.request_counts.total, dry.output_file_id) == ("completed", 300, None)
    assert dry.estimated_tokens["sim-large"] > 300
    assert arrived == before
    assert frugal.status == "cancelled"
    assert [error.code for error in frugal.errors.data] == ["max_total_tokens_exceeded"]
    assert len(output) + len(errors) == 300
    assert 0 < len(output) == frugal.request_counts.completed < 300


async def test_a_paused_batch_makes_no_calls_until_it_is_resumed(start_gateway):
    gateway = await start_gateway(simulator={"ttft_ms": 50, "slots": 4})
    batch = await gateway.submit(chat_lines(300))
    batch = await gateway.halfway(batch, done=10)

    paused = await gateway.client.post(f"/batches/{batch.id}/pause", cast_to=Batch)
    # Another batch that runs from end to end shows that executors are at work meanwhile.
    other = await gateway.submit(chat_lines(3, model="sim-small"))
    assert (await gateway.ended(other)).status == "completed"
    arrived = len(await gateway.arrivals())
    last = await gateway.submit(chat_lines(3, model="sim-small"))
    assert (await gateway.ended(last)).status == "completed"
    after = len(await gateway.arrivals())
    still = await gateway.client.batches.retrieve(batch.id)
    await gateway.configure(ttft_ms=0)
    resumed = await gateway.client.post(f"/batches/{batch.id}/resume", cast_to=Batch)
    ended = await gateway.ended(resumed)

    output, errors = await gateway.results(ended)
    assert (paused.paused, still.paused, resumed.paused) == (True, True, False)
    assert still.status == "in_progress"
    assert after - arrived == 3
    assert (ended.status, errors) == ("completed", [])
    assert custom_ids(output) == [f"line-{n}" for n in range(1, 301)]


async def test_extensions_of_a_new_batch_do_what_they_say(start_gateway):
    gateway = await start_gateway(simulator={"ttft_ms": 50, "slots": 4})

    await skips_bad_lines_of_several_endpoints(gateway)
    await runs_dry_and_within_a_budget(gateway)
