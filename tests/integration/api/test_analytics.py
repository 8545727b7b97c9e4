"""Analytics and usage over HTTP; what planners, executors and assemblers do is played."""

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from fixtures.api import SECRET, http_client
from typer.testing import CliRunner

from batch_gateway.cli.main import app
from batch_gateway.core.batch_summary import BatchSummary
from batch_gateway.core.call_statistics import CallStatistics
from batch_gateway.core.engine_response import decode
from batch_gateway.core.ids import ActivationId, BatchId, TenantId, shard_id
from batch_gateway.core.lines import CallRecord, ShardLine, answered
from batch_gateway.core.model import BatchStatus, LineCounts, ResultTally, Shard, TokenUsage
from batch_gateway.core.usage import report_of

DAY = 86_400


def statistics(batch: str) -> str:
    """Of three answers at 61 s, one of which failed."""
    found = CallStatistics()
    for number, took in ((1, 100), (2, 100), (3, 900)):
        line = ShardLine(number, f"r{number}", "/v1/x", "m", msgspec.Raw(b"{}"))
        ok = number < 3
        body = b'{"usage":{"prompt_tokens":5,"completion_tokens":2}}'
        error = b'{"error":{"code":"context_length_exceeded","message":"Too long."}}'
        part = answered(
            BatchId(batch),
            line,
            decode(body if ok else error),
            status=200 if ok else 400,
            request_id=None,
            ok=ok,
        )
        part.call = CallRecord(61, took, 40 if ok else -1, retries={"http_429": 2})
        found.add(part)
    return found.encoded()


def a_tally(batch: str) -> ResultTally:
    return ResultTally(
        completed=2,
        failed=1,
        usage=TokenUsage(input_tokens=10, cached_tokens=4, output_tokens=4),
        statistics=statistics(batch),
    )


async def submitted(client) -> str:
    line = b'{"custom_id":"1","method":"POST","url":"/v1/x","body":{}}\n'
    sent = {"file": ("in.jsonl", line)}
    file = (await client.post("/v1/files", data={"purpose": "batch"}, files=sent)).json()["id"]
    asked = {
        "input_file_id": file,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    created = await client.post("/v1/batches", json=asked)
    return created.json()["id"]


async def run(store, batch_id: str, model: str = "m", *, to_the_end: bool, now=None) -> None:
    """Plan a batch, record three lines of its shard, and assemble it if it is to end."""
    now = now or datetime.now(UTC)
    shard = Shard(batch=BatchId(batch_id), index=0, model=model, key="k", lines=3, cost=1)
    assert await store.batches.plan(shard.batch, [shard], total=3, model=model, now=now, events=[])
    lease = await store.shards.claim(
        shard_id(shard.batch, 0), holder=ActivationId("x"), token="t", now=now
    )
    await store.shards.checkpoint({lease.ref: a_tally(batch_id)})
    if not to_the_end:
        return
    closed = await store.shards.finish(lease.ref, [], a_tally(batch_id), now=now, events=[])
    summary = BatchSummary()
    async for found in store.shards.of_batch(shard.batch):
        summary.add(found)
    await store.batches.claim_assembly(shard.batch, "a", now=now, ttl=timedelta(seconds=9))
    ended = closed.batch.evolve(status=BatchStatus.COMPLETED, completed_at=now)
    assert await store.batches.finish(
        shard.batch,
        BatchStatus.COMPLETED,
        holder="a",
        files=[],
        output=None,
        error=None,
        counts=LineCounts(total=3, completed=2, failed=1),
        usage=a_tally(batch_id).usage,
        now=now,
        events=[],
        report=report_of(ended, now, summary),
    )
    await store.batches.swept(shard.batch)


@pytest.mark.parametrize("to_the_end", [False, True], ids=["running", "ended"])
async def test_analytics_of_a_batch_are_the_sum_of_what_its_shards_have_recorded(
    server, http, to_the_end
):
    batch = await submitted(http)
    async with server.metadata() as store:
        await run(store, batch, to_the_end=to_the_end)

    found = (await http.get(f"/v1/batches/{batch}/analytics")).json()

    assert found["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert found["usage"]["total_tokens"] == 14
    assert found["timeline"] == {
        "interval_s": 60,
        "points": [
            {
                "start_time": 60,
                "completed": 2,
                "failed": 1,
                "input_tokens": 10,
                "output_tokens": 4,
            }
        ],
    }
    call, first = found["latency"]["call"], found["latency"]["first_token"]
    assert (call["count"], call["mean_ms"], first["count"]) == (3, 366.667, 2)
    assert 100 <= call["p50_ms"] < 109.1
    assert 900 <= call["p99_ms"] < 982
    assert found["retries"] == [{"reason": "http_429", "count": 6}]
    assert found["errors"] == [
        {
            "code": "context_length_exceeded",
            "count": 1,
            "example": {"line": 3, "custom_id": "r3", "message": "Too long."},
        }
    ]
    assert [model["model"] for model in found["models"]] == ["m"]
    assert found["cost"] is None
    names = [phase["name"] for phase in found["phases"]]
    assert names == ["validating", "in_progress", *(["finalizing"] if to_the_end else [])]
    assert (found["phases"][-1]["ended_at"] is None) != to_the_end


async def test_analytics_of_a_batch_that_has_not_begun_are_empty(http):
    found = (await http.get(f"/v1/batches/{await submitted(http)}/analytics")).json()

    assert found["timeline"]["points"] == found["errors"] == found["models"] == []
    assert found["latency"]["call"]["p50_ms"] is None


async def test_analytics_of_another_tenants_batch_are_not_found(server, http):
    batch = await submitted(http)
    async with http_client(server, TenantId("another")) as other:
        answer = await other.get(f"/v1/batches/{batch}/analytics")

    assert answer.status_code == 404


def midnight(days_ago: int = 0) -> int:
    return (int(datetime.now(UTC).timestamp()) // DAY - days_ago) * DAY


async def test_usage_stays_when_batches_are_deleted_and_is_shown_to_its_tenant_alone(server, http):
    async with server.metadata() as store:
        for model in ("m1", "m1", "m2"):
            batch = await submitted(http)
            await run(store, batch, model, to_the_end=True)
            await http.delete(f"/v1/batches/{batch}")

    query = {"start_time": midnight(), "group_by": "model,project_id"}
    page = (await http.get("/v1/usage", params=query)).json()

    assert (page["object"], page["has_more"], page["next_page"]) == ("page", False, None)
    (bucket,) = page["data"]
    assert (bucket["start_time"], bucket["end_time"]) == (midnight(), midnight() + DAY)
    shown = [
        (r["model"], r["api_key_id"], r["num_batches"], r["num_model_requests"], r["input_tokens"])
        for r in bucket["results"]
    ]
    assert shown == [("m1", None, 2, 6, 20), ("m2", None, 1, 3, 10)]
    assert {r["project_id"] for r in bucket["results"]} == {bucket["results"][0]["project_id"]}
    async with http_client(server, TenantId("another")) as other:
        theirs = (await other.get("/v1/usage", params=query)).json()
    assert theirs["data"][0]["results"] == []


async def test_usage_comes_day_by_day_and_in_pages(server, http):
    async with server.metadata() as store:
        for days_ago in (0, 2):
            batch = await submitted(http)
            when = datetime.now(UTC) - timedelta(days=days_ago)
            await run(store, batch, to_the_end=True, now=when)
    query = {"start_time": midnight(3), "limit": 2}

    found, page = [], None
    while True:
        given = query if page is None else {**query, "page": page}
        answer = (await http.get("/v1/usage", params=given)).json()
        found += [(b["start_time"], len(b["results"])) for b in answer["data"]]
        page = answer["next_page"]
        if not answer["has_more"]:
            break

    assert found == [(midnight(ago), int(ago in (0, 2))) for ago in (3, 2, 1, 0)]


async def test_usage_can_be_filtered_and_comes_as_csv(server, http):
    async with server.metadata() as store:
        for model in ("=m1", "m2"):
            await run(store, await submitted(http), model, to_the_end=True)
    query = {"start_time": midnight(), "group_by[]": "model", "models": "=m1"}

    answer = await http.get("/v1/usage", params=query, headers={"accept": "text/csv"})
    same = await http.get("/v1/usage", params={**query, "format": "csv"})

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text == same.text
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert row["model"] == "'=m1"  # no spreadsheet takes it for a formula
    assert (row["date"], row["input_tokens"]) == (f"{datetime.now(UTC):%Y-%m-%d}", "10")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({}, "start_time"),
        ({"start_time": "x"}, "start_time"),
        ({"start_time": "10", "end_time": "10"}, "end_time"),
        ({"start_time": "0", "bucket_width": "1h"}, "bucket_width"),
        ({"start_time": "0", "group_by": "colour"}, "group_by"),
        ({"start_time": "0", "limit": "181"}, "limit"),
        ({"start_time": "0", "page": "page_x"}, "page"),
        ({"start_time": "0", "format": "xml"}, "format"),
        ({"start_time": "0", "models": ",".join(map(str, range(101)))}, "models"),
    ],
)
async def test_a_wrong_query_is_refused(http, query, param):
    answer = await http.get("/v1/usage", params=query)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_the_command_prints_usage_by_model(server, http, tenant, monkeypatch):
    async with server.metadata() as store:
        await run(store, await submitted(http), "m1", to_the_end=True)
    monkeypatch.setenv("BATCH_GATEWAY_URL", server.url)
    headers = ("--header", f"x-gateway-secret={SECRET}", "--header", f"x-gateway-tenant={tenant}")

    def command(*words: str) -> str:
        result = CliRunner().invoke(app, ["usage", *words, *headers])
        assert result.exit_code == 0, result.output
        return result.stdout

    shown = await asyncio.to_thread(command, "--days", "2")
    as_csv = await asyncio.to_thread(command, "--csv", "--by", "model,tenant")

    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert shown.splitlines()[1].split() == [today, "m1", "1", "2", "1", "0", "10", "4", "4", "-"]
    (row,) = csv.DictReader(io.StringIO(as_csv))
    assert (row["model"], row["project_id"]) == ("m1", tenant)


async def test_a_cost_cannot_be_limited_where_there_are_no_prices(http):
    asked = {
        "input_file_id": "file-x",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "max_cost": 1.5,
    }

    answer = await http.post("/v1/batches", json=asked)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "max_cost")
