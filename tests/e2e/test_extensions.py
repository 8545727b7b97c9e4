"""What goes beyond OpenAI's API, through the SDK and all functions."""

import asyncio
import json

import httpx
import openai as sdk
import pytest
from fixtures import extensions
from fixtures.gateway import CHAT, TERMINAL, chat_lines, custom_ids, read_results
from openai.types import Batch

pytestmark = pytest.mark.e2e

TERMS = {"endpoint": CHAT, "completion_window": "1h"}


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


async def results_come_while_a_batch_runs_and_what_failed_is_retried(gateway, alice, bob):
    lines = chat_lines(150)
    for line in lines[100:140]:
        line["body"] = {**lines[100]["body"], "temperature": 0}
    for line in lines[::10]:
        line["body"]["model"] = "nobody"
    body = TERMS | {"requests": lines, "deduplicate": True}
    batch = await alice.post("/batches", cast_to=Batch, body=body)
    paged, followed = await asyncio.gather(
        read_results(alice, batch.id), follow_results(gateway, alice, batch.id)
    )
    batch = await alice.batches.retrieve(batch.id)
    output, errors = await results_of(alice, batch)
    asked = await alice.get(
        f"/batches/{batch.id}/requests", cast_to=dict, options={"params": {"custom_id": "line-2"}}
    )

    assert batch.status == "completed"
    assert in_any_order(paged) == in_any_order(followed) == in_any_order(output + errors)
    assert (batch.request_counts.total, batch.request_counts.failed) == (150, 15)
    assert batch.deduplicated > 30
    assert batch.saved_tokens > 0
    assert (asked["status"], asked["result"]) == ("completed", output[0])

    await assert_unknown(bob, batch)
    before = len(await gateway.arrivals())
    retry = await alice.post(
        f"/batches/{batch.id}/retry",
        cast_to=Batch,
        body={"errors": ["404"], "metadata": {"a": "b"}},
    )
    retry = await until_ended(alice, retry)
    again, failed = await results_of(alice, retry)
    assert (retry.retry_of, retry.carried_over, retry.metadata) == (batch.id, 135, {"a": "b"})
    assert again == output
    assert custom_ids(failed) == custom_ids(errors)
    assert 0 < len(await gateway.arrivals()) - before <= 15
    assert (await alice.batches.retrieve(batch.id)) == batch


async def assert_unknown(stranger, batch):
    for path in ("results", "results?follow=true", "requests?custom_id=line-2"):
        with pytest.raises(sdk.NotFoundError, match="No batch found"):
            await stranger.get(f"/batches/{batch.id}/{path}", cast_to=dict)
    with pytest.raises(sdk.NotFoundError, match="No batch found"):
        await stranger.post(f"/batches/{batch.id}/retry", cast_to=Batch)


async def quotas_are_each_tenants_own(alice, bob):
    body = TERMS | {"requests": chat_lines(201)}
    refused = await until_ended(bob, await bob.post("/batches", cast_to=Batch, body=body))
    body["requests"].pop()
    done = await until_ended(bob, await bob.post("/batches", cast_to=Batch, body=body))
    large = await bob.files.create(file=("a.txt", b"x" * 2_000_000), purpose="evals")

    assert [error.code for error in refused.errors.data] == ["token_limit_exceeded"]
    assert (done.status, done.request_counts.completed) == ("completed", 200)
    with pytest.raises(sdk.BadRequestError, match="file storage quota"):
        await bob.files.create(file=("b.txt", b"x" * 2_000_000), purpose="evals")
    await alice.files.create(file=("b.txt", b"x" * 2_000_000), purpose="evals")
    await bob.files.delete(large.id)
    await bob.files.create(file=("b.txt", b"x" * 2_000_000), purpose="evals")


async def follow_results(gateway, client, batch_id):
    """Result lines of one answer that goes on until the batch has ended."""
    url = f"{gateway.platform.base_url}/batches/{batch_id}/results?follow=true"
    async with (
        httpx.AsyncClient(headers=gateway_headers(client), timeout=60) as http,
        http.stream("GET", url) as stream,
    ):
        lines = [json.loads(line) async for line in stream.aiter_lines()]
    assert lines[-1]["status"] == "completed"
    return [line for line in lines if "cursor" not in line]


def gateway_headers(client):
    headers = client.default_headers
    return {name: headers[name] for name in headers if name.startswith("x-gateway-")}


async def until_ended(client, batch):
    async with asyncio.timeout(60):
        while batch.status not in TERMINAL:
            await asyncio.sleep(0.05)
            batch = await client.batches.retrieve(batch.id)
    return batch


async def results_of(client, batch):
    found = []
    for name in (batch.output_file_id, batch.error_file_id):
        text = "" if name is None else (await client.files.content(name)).text
        found.append([json.loads(line) for line in text.splitlines()])
    return found


def in_any_order(lines):
    return sorted(json.dumps(line, sort_keys=True) for line in lines)


async def test_two_tenants_have_results_retries_and_quotas_of_their_own(start_gateway):
    gateway = await start_gateway(
        simulator={"ttft_ms": 30, "slots": 8},
        settings={
            "auth": {"kind": "trusted-header", "secret": "proof"},
            "quota": {"queued_requests": 200, "stored_bytes": 3_000_000},
        },
    )
    alice, bob = (
        gateway.client.with_options(
            default_headers={"x-gateway-secret": "proof", "x-gateway-tenant": name}
        )
        for name in ("alice", "bob")
    )

    await results_come_while_a_batch_runs_and_what_failed_is_retried(gateway, alice, bob)
    await quotas_are_each_tenants_own(alice, bob)


async def test_extensions_of_a_new_batch_do_what_they_say(start_gateway):
    gateway = await start_gateway(simulator={"ttft_ms": 50, "slots": 4})

    await extensions.work(gateway)
