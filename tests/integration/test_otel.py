"""Spans on their way to a collector: one that is away or slow costs spans, never time."""

import asyncio
import logging
import time
from datetime import timedelta

import pytest
from fixtures.collector import collecting
from prometheus_client import REGISTRY

from batch_gateway.adapters.otel import OtelRecorder

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NOBODY = "http://127.0.0.1:9"
QUEUE = 50


def counted():
    return {
        "sent": REGISTRY.get_sample_value("batch_gateway_spans_sent_total"),
        **{
            reason: REGISTRY.get_sample_value(
                "batch_gateway_spans_dropped_total", {"reason": reason}
            )
            or 0.0
            for reason in ("queue_full", "not_sent")
        },
    }


def since(before):
    return {name: value - before[name] for name, value in counted().items()}


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(QUEUE))
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    recorders = []

    def start(url, **variables):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        recorders.append(OtelRecorder("executor", instance="pod-1"))
        return recorders[-1]

    yield start
    for each in recorders:
        each.stop(timedelta(seconds=5))


def record(recorder, count, parent=PARENT):
    spans = [
        recorder.start("work", parent, kind="client", attributes={"n": n}) for n in range(count)
    ]
    for span in spans:
        span.end()
    return spans


async def until(condition):
    async with asyncio.timeout(90):
        while not condition():
            await asyncio.sleep(0.01)


async def test_spans_arrive_with_their_parent_kind_and_resource(recorder):
    async with collecting() as collector:
        made = recorder(collector.url, OTEL_SERVICE_NAME="mine", OTEL_RESOURCE_ATTRIBUTES="a=b")
        before = counted()
        (span,) = record(made, 1, f"{PARENT} vendor=1")
        await until(lambda: since(before)["sent"] == 1)

        (received,) = collector.spans
    assert collector.wrong == []
    assert span.context == f"00-{TRACE}-{received.span_id}-01 vendor=1"
    assert (received.trace_id, received.parent_id) == (TRACE, "00f067aa0ba902b7")
    assert (received.kind, received.attributes) == ("client", {"n": 0})
    about = received.resource
    assert (about["service.name"], about["faas.name"], about["a"]) == ("mine", "executor", "b")


@pytest.mark.parametrize(
    ("parent", "sampler", "sampled"),
    [
        (PARENT, None, True),
        (f"{PARENT[:-2]}00", None, False),
        (None, None, True),
        (None, "parentbased_always_off", False),
        (PARENT, "always_off", False),
    ],
)
def test_the_sampler_of_the_sdk_decides(recorder, parent, sampler, sampled):
    made = recorder(NOBODY, **({"OTEL_TRACES_SAMPLER": sampler} if sampler else {}))

    span = made.start("work", parent, kind="internal", attributes={})

    assert (span.recorded, int(span.context[-2:], 16) & 1) == (sampled, sampled)
    assert parent is None or TRACE in span.context


async def test_a_collector_that_hangs_costs_spans_beyond_the_queue_and_no_time(recorder):
    async with collecting() as collector:
        collector.gate.clear()
        made, before = recorder(collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="20"), counted()
        spans = [made.start("work", PARENT, kind="client", attributes={}) for _ in range(5000)]

        used = time.thread_time()
        for span in spans:
            span.end()
        used = time.thread_time() - used

        in_flight = 10  # of one request, that are in the queue no more
        assert 5000 - QUEUE - in_flight <= since(before)["queue_full"] <= 5000 - QUEUE
        assert used < 2.5, "half a millisecond per span is too much"
        collector.gate.set()
        await until(lambda: sum(since(before).values()) == 5000)
        assert collector.wrong == []


async def test_spans_that_the_collector_refuses_are_counted_and_logged_once(recorder, caplog):
    async with collecting() as collector:
        collector.answer = 400
        made, before = recorder(collector.url), counted()
        with caplog.at_level(logging.WARNING):
            record(made, 5)
            await until(lambda: since(before)["not_sent"] == 5)
            record(made, 5)
            await until(lambda: since(before)["not_sent"] == 10)

    assert [record.message for record in caplog.records] == [
        "Spans are dropped: the collector does not take them"
    ]


async def test_the_end_of_a_process_sends_what_is_queued_but_waits_for_no_hanging_collector(
    recorder,
):
    async with collecting() as collector:
        made, before = recorder(collector.url, OTEL_BSP_SCHEDULE_DELAY="600000"), counted()
        record(made, 5)
        await asyncio.to_thread(made.stop, timedelta(seconds=30))
        assert since(before)["sent"] == 5

        collector.gate.clear()
        hanging = recorder(collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="60")
        record(hanging, 5)
        began = time.monotonic()
        await asyncio.to_thread(hanging.stop, timedelta(seconds=0.5))
        assert time.monotonic() - began < 30
        collector.gate.set()
        await until(lambda: sum(since(before).values()) == 10)


async def test_a_collector_that_is_away_costs_spans_only(recorder):
    made, before = recorder(NOBODY), counted()

    record(made, 5)

    await until(lambda: since(before)["not_sent"] == 5)
