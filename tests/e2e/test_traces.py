"""One batch is one trace, from the client's request through all functions to the engine."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

import pytest
from fixtures.collector import collecting
from fixtures.gateway import chat_lines, encoded
from fixtures.scrapes import appearing_later, panels, scraping, selected

pytestmark = pytest.mark.e2e

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
CLIENT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=value"}
LINES, SHARDS, SAMPLED = 60, 3, 2
WHOLE = {
    "POST /v1/batches": 1,
    "create batch": 1,
    "plan batch": 1,
    "execute shard": SHARDS,
    "assemble batch": 1,
    "deliver webhook": 1,
}


async def until_whole(collector):
    """Until the collector has all spans of the batch; calls and flushes end before their shard."""
    async with asyncio.timeout(90):
        while WHOLE.items() - Counter(span.name for span in collector.of(TRACE)).items():
            await asyncio.sleep(0.05)


async def test_a_batch_is_one_trace_and_a_collector_that_hangs_stops_no_work(
    start_gateway, receiver, monkeypatch
):
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        gateway = await start_gateway(
            settings={
                "tracing": {"enabled": True, "requests_per_shard": SAMPLED},
                "planning": {"shard_lines": LINES // SHARDS},
            }
        )
        await gateway.client.webhooks.create(
            name="mine", url=receiver.url, event_types=["batch.completed"]
        )
        file = await gateway.client.files.create(
            file=("input.jsonl", encoded(chat_lines(LINES))), purpose="batch"
        )

        async with scraping(gateway.platform) as scrapes:
            batch = await gateway.client.batches.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                extra_headers=CLIENT,
            )
            await gateway.ended(batch)
            await until_whole(collector)
        assert_panels(scrapes)

        spans = collector.of(TRACE)
        assert collector.wrong == []
        assert_family(spans, batch)
        assert_calls(spans, await gateway.arrivals())

        collector.gate.clear()
        asked = collector.requests
        again = await gateway.ended(await gateway.submit(chat_lines(LINES)))
        assert again.request_counts.completed == LINES
        async with asyncio.timeout(60):
            while collector.requests == asked:
                await asyncio.sleep(0.02)
        collector.gate.set()


EXPIRED_TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_a_batch_that_expires_is_one_trace_to_its_end(start_gateway, receiver, monkeypatch):
    """Its call that never ends is in it, as one that failed."""
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        gateway = await start_gateway(
            settings={"tracing": {"enabled": True, "requests_per_shard": 6}}
        )
        await gateway.configure(fault_rate=1.0, fault_kinds=["timeout"], fault_match="Question 3?")
        await gateway.client.webhooks.create(
            name="mine", url=receiver.url, event_types=["batch.expired"]
        )
        file = await gateway.client.files.create(
            file=("input.jsonl", encoded(chat_lines(6))), purpose="batch"
        )
        batch = await gateway.client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            extra_headers={"traceparent": f"00-{EXPIRED_TRACE}-{PARENT}-01"},
        )
        await gateway.halfway(batch, done=5)

        await gateway.bring_forward(batch, deadline=datetime.now(UTC))
        batch = await gateway.ended(batch)
        async with asyncio.timeout(90):
            while not {"assemble batch", "deliver webhook", "execute shard"} <= {
                span.name for span in collector.of(EXPIRED_TRACE)
            }:
                await asyncio.sleep(0.05)

        spans = collector.of(EXPIRED_TRACE)
        by_id = {span.span_id: span for span in spans}
        (made,) = [span for span in spans if span.name == "create batch"]
        parents = {
            span.name: by_id[span.parent_id].name for span in spans if span.parent_id != PARENT
        }
        assert batch.status == "expired"
        assert collector.wrong == []
        assert parents["plan batch"] == parents["execute shard"] == "create batch"
        assert parents["assemble batch"] == parents["deliver webhook"] == "create batch"
        assert made.attributes["batch_gateway.batch.id"] == batch.id
        calls = [span for span in spans if span.kind == "client" and span.name == "chat sim-large"]
        assert len([span for span in calls if not span.failed]) == 5
        assert [span.failed for span in calls].count(True) >= 1


def assert_panels(scrapes):
    """All metrics of the dashboard are scraped from the running functions, except for those of
    which docs/monitoring.md says when they appear."""
    missing = {
        metric
        for expressions in panels().values()
        for expression in expressions
        for metric, label, pattern in selected(expression)
        if not scrapes.has(metric, label, pattern)
    }

    assert scrapes.services >= {"state", "api", "planner", "executor", "assembler", "notifier"}
    assert missing <= appearing_later(), missing


def assert_family(spans, batch):
    """The parents are those that the documentation shows."""
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    (request,) = [span for span in spans if span.name == "POST /v1/batches"]
    assert request.parent_id == PARENT
    parents = {
        "create batch": "POST /v1/batches",
        "plan batch": "create batch",
        "execute shard": "create batch",
        "chat sim-large": "execute shard",
        "flush": "execute shard",
        "assemble batch": "create batch",
        "deliver webhook": "create batch",
    }
    for span in spans:
        if span is not request:
            assert by_id[span.parent_id].name == parents[span.name], span
            assert not span.failed, span
    ids = {
        span.attributes["batch_gateway.batch.id"]
        for span in spans
        if span.name in WHOLE.keys() - {"POST /v1/batches"}
    }
    assert ids == {batch.id}
    functions = {span.name: span.resource["faas.name"] for span in spans}
    assert functions["POST /v1/batches"] == "api"
    assert functions["plan batch"] == "planner"
    assert functions["execute shard"] == functions["flush"] == "executor"
    assert functions["assemble batch"] == "assembler"
    assert functions["deliver webhook"] == "notifier"
    assert {span.resource["service.name"] for span in spans} == {"batch-gateway"}


def assert_calls(spans, arrivals):
    """Sampled calls have a span, whose id the engine was given; the engine records no others."""
    calls = {span.span_id: span for span in spans if span.kind == "client" and "chat" in span.name}
    shards = {span.span_id for span in spans if span.name == "execute shard"}
    assert len(calls) == SHARDS * SAMPLED
    assert len([span for span in spans if span.name == "flush"]) <= SHARDS * SAMPLED
    assert len(arrivals) == LINES
    recorded = set()
    for arrival in arrivals:
        version, trace, parent, flags = arrival["headers"]["traceparent"].split("-")
        assert (version, trace) == ("00", TRACE)
        assert arrival["headers"]["tracestate"] == "vendor=value"
        if flags == "01":
            recorded.add(parent)
            usage, about = arrival["usage"], calls[parent].attributes
            assert about["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
            assert about["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
            assert arrival["model"] == about["gen_ai.request.model"]
            assert about["gen_ai.operation.name"] == "chat"
            assert about["server.address"] == "127.0.0.1"
            assert about["http.response.status_code"] == 200
        else:
            assert (parent in shards, flags) == (True, "00")
    assert recorded == set(calls)
