"""``batch_gateway.client`` against a running service."""

import json
import os

import httpx
import pytest
from fixtures.gateway import chat_lines
from openai import AsyncOpenAI

from batch_gateway.client import (
    AsyncBatchClient,
    BatchClient,
    BatchFailed,
    Request,
    RequestFailed,
    chat,
    embedding,
)
from batch_gateway.client.requests import files_of
from batch_gateway.client.steps import BatchParameters

pytestmark = pytest.mark.e2e


@pytest.fixture
def batches(service):
    with service.client as client:
        yield BatchClient(client)


def questions(count: int, *, salt: str) -> list[Request]:
    """Requests that no other test has."""
    return [chat("sim-large", f"{salt} {n}", max_tokens=4) for n in range(count)]


def listed(service) -> int:
    found = service.client.get(
        "/batches", cast_to=httpx.Response, options={"params": {"limit": 100}}
    )
    return len(found.json()["data"])


def test_a_run_yields_results_in_order_and_goes_on_when_repeated(service, batches):
    asked = questions(25, salt="order")
    asked[7] = Request(body={**asked[7].body, "model": "absent"})
    before = listed(service)

    terms = {"metadata": {"job": "x"}, "priority": 1}
    found = list(batches.run(iter(asked), **terms))
    made = listed(service) - before
    again = list(batches.run(iter(asked), **terms))

    assert [result.custom_id for result in found] == [f"request-{n}" for n in range(25)]
    assert [result.ok for result in found] == [n != 7 for n in range(25)]
    assert found[0].text
    assert (found[7].status_code, found[7].error.code) == (404, "model_not_found")
    with pytest.raises(RequestFailed, match=r"request-7: .* \(model_not_found\)"):
        found[7].check()
    assert [result.raw for result in again] == [result.raw for result in found]
    assert (made, listed(service) - before) == (1, 1)


def test_a_run_goes_on_where_its_batch_is_when_the_one_before_was_left(service, batches):
    asked = questions(20, salt="left")
    with service.slowed(ttft_ms=5000):
        (batch,) = batches.submit(asked)
        before = listed(service)

    found = list(batches.run(asked))

    assert listed(service) == before
    assert [result.ok for result in found] == [True] * 20
    assert batches.wait(batch.id).request_counts.completed == 20


def test_many_requests_become_several_batches(service, batches, monkeypatch):
    monkeypatch.setattr(BatchParameters, "__init__", _smaller(BatchParameters.__init__))

    found = list(batches.run(questions(25, salt="several")))

    assert [result.custom_id for result in found] == [f"request-{n}" for n in range(25)]
    assert len({json.loads(result.raw)["id"] for result in found}) == 25


def _smaller(init):
    def small(self, **given):
        init(self, **given | {"most_requests": 10})

    return small


def test_a_wrong_request_is_told_with_its_line(batches):
    asked = [*questions(2, salt="wrong"), Request(body={"model": "sim-large"})]

    with pytest.raises(BatchFailed, match="line 3: Messages parameter is required"):
        list(batches.run(asked))


def test_results_are_followed_and_their_cursor_goes_on(service, batches):
    (batch,) = batches.submit(questions(30, salt="follow"), resume=False)

    stream = batches.results(batch.id, follow=True)
    found = [result.custom_id for result in stream]
    rest = list(batches.results(batch.id, after=stream.cursor))
    everything = list(batches.results(batch.id))

    assert sorted(found) == sorted(f"request-{n}" for n in range(30))
    assert rest == []
    assert len(everything) == 30
    assert batches.lookup(batch.id, "request-3").result in everything


def test_a_batch_is_steered_and_retried(service, batches):
    asked = questions(40, salt="steer")
    asked[1] = Request(body={**asked[1].body, "model": "absent"})
    with service.slowed(ttft_ms=5000):
        (batch,) = batches.submit(asked)
        paused = batches.pause(batch.id)

    updated = batches.update(batch.id, priority=2, window="7d")
    resumed = batches.resume(batch.id)
    ended = batches.wait(batch.id)
    retried = batches.wait(batches.retry(batch.id, errors=["model_not_found"], window="1h").id)
    with service.slowed(ttft_ms=5000):
        cancelled = batches.cancel(batches.submit(questions(40, salt="cancel"))[0].id)

    assert (paused.model_extra["paused"], resumed.model_extra["paused"]) == (True, False)
    assert (updated.model_extra["priority"], updated.completion_window) == (2, "7d")
    assert (ended.status, ended.request_counts.failed) == ("completed", 1)
    assert retried.model_extra["retry_of"] == batch.id
    assert cancelled.status == "cancelling"
    standing = batches.lookup(batch.id, "request-1")
    assert (standing.status, standing.result.error.code) == ("failed", "model_not_found")


def test_what_was_cancelled_is_retried_by_the_same_run(service, batches):
    asked = questions(40, salt="again")
    with service.slowed(ttft_ms=5000):
        (batch,) = batches.submit(asked)
        batches.cancel(batch.id)
    ended = batches.wait(batch.id)

    found = list(batches.run(asked))

    assert ended.status == "cancelled"
    assert [result.ok for result in found] == [True] * 40


async def test_the_asynchronous_client_does_the_same(service):
    async with AsyncOpenAI(base_url=service.url, api_key="x") as client:
        batches = AsyncBatchClient(client)
        asked = [embedding("sim-small", f"async {n}", custom_id=f"text-{n}") for n in range(12)]

        found = [result async for result in batches.run(asked)]
        (batch,) = await batches.submit(asked)
        stream = batches.results(batch.id, follow=True)
        followed = [result.custom_id async for result in stream]
        standing = await batches.lookup(batch.id, "text-3")
        with service.slowed(ttft_ms=5000):
            many = [chat("sim-large", f"async {n}") for n in range(40)]
            paused = await batches.pause((await batches.submit(many))[0].id)
            updated = await batches.update(paused.id, priority=2, window="7d")
            resumed = await batches.resume(paused.id)
            cancelled = await batches.cancel(paused.id)
        ended = await batches.wait(paused.id)
        retried = await batches.retry(paused.id, window="1h")
        again = await batches.wait(retried.id)
        with pytest.raises(BatchFailed):
            [each async for each in batches.run([Request(body={})])]

    assert [result.custom_id for result in found] == [f"text-{n}" for n in range(12)]
    assert len(found[0].embedding) > 1
    assert sorted(followed) == sorted(result.custom_id for result in found)
    assert stream.cursor
    assert standing.result == found[3]
    assert (paused.model_extra["paused"], resumed.model_extra["paused"]) == (True, False)
    assert (updated.model_extra["priority"], updated.completion_window) == (2, "7d")
    assert (cancelled.status, ended.status) == ("cancelling", "cancelled")
    assert (retried.model_extra["retry_of"], again.request_counts.completed) == (paused.id, 40)


def test_the_environment_names_service_and_key(service, monkeypatch):
    monkeypatch.setenv("BATCH_GATEWAY_URL", service.url.removesuffix("/v1"))
    monkeypatch.setenv("OPENAI_API_KEY", "never sent")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("BATCH_GATEWAY_API_KEY", raising=False)

    with BatchClient() as batches:
        sent = batches._client.api_key
        found = list(batches.run(questions(1, salt="environment")))

    assert sent == "unused"
    assert found[0].ok


def test_requests_are_kept_on_disk_and_not_in_memory():
    line = chat_lines(1)[0]

    files = list(
        files_of(
            (Request(body=line["body"]) for _ in range(2500)), most_requests=1000, most_bytes=10**9
        )
    )

    assert [file.count for file in files] == [1000, 1000, 500]
    assert all(file.stream.tell() == file.size for file in files)
    assert os.fstat(files[0].stream.fileno()).st_nlink == 0
    for file in files:
        file.stream.close()
