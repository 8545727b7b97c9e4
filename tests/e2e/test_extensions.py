"""What goes beyond OpenAI's API, through the SDK and all functions."""

import pytest
from fixtures import extensions, tenants
from fixtures.gateway import chat_lines, custom_ids
from openai.types import Batch

pytestmark = pytest.mark.e2e


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


async def test_two_tenants_have_results_retries_quotas_and_webhooks_of_their_own(
    start_gateway, start_receiver
):
    gateway = await start_gateway(settings=tenants.SETTINGS)

    await tenants.work(gateway, start_receiver)


async def test_extensions_of_a_new_batch_do_what_they_say(start_gateway):
    gateway = await start_gateway(simulator={"ttft_ms": 50, "slots": 4})

    await extensions.work(gateway)


async def test_bodies_that_the_engine_decides_on_reach_it_as_they_are(start_gateway):
    gateway = await start_gateway()
    bodies = {
        "/v1/embeddings": {"model": "sim-small", "messages": [{"role": "user", "content": "hi"}]},
        "/v1/completions": {"model": "sim-small", "prompt_embeds": "AAAA", "max_tokens": 5},
        "/v1/moderations": {"input": "hi"},
        "/v1/score": {"text_1": "a", "text_2": ["b", "c"]},
        "/v1/rerank": {"model": "sim-small", "query": "a", "documents": ["b", "c"]},
    }
    lines = [
        {"custom_id": url, "method": "POST", "url": url, "body": body}
        for url, body in bodies.items()
    ]

    ended = await gateway.ended(await gateway.submit(lines, endpoint="*"))

    output, errors = await gateway.results(ended)
    assert (ended.status, errors) == ("completed", [])
    assert custom_ids(output) == list(bodies)
    answers = {one["custom_id"]: one["response"]["body"] for one in output}
    assert [one["object"] for one in answers["/v1/score"]["data"]] == ["score", "score"]
    assert {one["index"] for one in answers["/v1/rerank"]["results"]} == {0, 1}
