"""The recorder of spans never disturbs what it records."""

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from batch_gateway.adapters import otel
from batch_gateway.adapters.otel import OtelRecorder
from batch_gateway.traces import Span

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Exporter:
    """Takes spans as OTLP's exporter does; it hangs while ``may_send`` is clear."""

    def __init__(self, **_: Any) -> None:
        self.sent: list[ReadableSpan] = []
        self.may_send = threading.Event()
        self.may_send.set()
        self.fails = False

    def export(self, spans: Any) -> SpanExportResult:
        self.may_send.wait(60)
        if self.fails:
            raise RuntimeError("a fault of the exporter")
        self.sent += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None: ...

    def force_flush(self, _: int = 0) -> bool:
        return True


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Exporter:
    exporter = Exporter()
    monkeypatch.setattr(otel, "OTLPSpanExporter", lambda **_: exporter)
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "level", logging.CRITICAL)
    return exporter


@pytest.fixture
def recorder(exporter: Exporter) -> Iterator[OtelRecorder]:
    recorder = OtelRecorder("executor", instance="test")
    yield recorder
    exporter.may_send.set()
    recorder.stop(timedelta(seconds=30))


def started(recorder: OtelRecorder, parent: str | None = PARENT, **attributes: Any) -> Span:
    return recorder.start("work", parent, kind="internal", attributes=attributes)


def sent(recorder: OtelRecorder, exporter: Exporter) -> list[ReadableSpan]:
    recorder.stop(timedelta(seconds=30))
    return exporter.sent


@pytest.mark.parametrize(
    "parent", [None, "", "nonsense", f"{PARENT} =", f"{PARENT}-too-long", "00-0-0-0", "\ud800\x00"]
)
@pytest.mark.parametrize(
    "attributes",
    [{}, {"a": object()}, {"": 1}, {"a": [1, "b", None]}, {"a": "\ud800"}, {"a": "x" * 10**6}],
    ids=["none", "object", "nameless", "mixed", "surrogate", "long"],
)
def test_a_span_is_started_whatever_it_is_given(recorder, exporter, parent, attributes):
    span = started(recorder, parent, **attributes)
    span.set(attributes)
    span.end()

    (found,) = sent(recorder, exporter)
    assert found.name == "work"
    assert span.context is not None


def test_a_child_belongs_to_its_parent(recorder, exporter):
    started(recorder).end()

    (found,) = sent(recorder, exporter)
    assert found.parent is not None
    assert f"{found.parent.span_id:016x}" == PARENT[36:52]
    assert found.context is not None
    assert f"{found.context.trace_id:032x}" == PARENT[3:35]


def test_what_is_done_after_the_end_changes_nothing(recorder, exporter):
    span = started(recorder, a=1)
    span.end()
    (ended_at,) = {span._span.end_time}  # type: ignore[attr-defined]
    span.set({"a": 2, "b": 1})
    span.fail("TimeoutError")
    span.end()

    (found,) = sent(recorder, exporter)
    assert dict(found.attributes or {}) == {"a": 1}
    assert found.status.is_ok or found.status.is_unset
    assert found.end_time == ended_at


def test_an_end_does_not_wait_for_a_collector_that_hangs(recorder, exporter):
    """More spans end than are kept; the rest are dropped and nothing waits."""
    exporter.may_send.clear()

    for _ in range(5000):
        started(recorder).end()

    assert exporter.sent == []
    exporter.may_send.set()
    assert 0 < len(sent(recorder, exporter)) < 5000


def test_an_end_does_not_raise_what_an_exporter_raises(recorder, exporter):
    exporter.fails = True
    span = started(recorder)

    span.end()

    assert sent(recorder, exporter) == []


def test_an_end_does_not_raise_after_the_recorder_has_stopped(recorder):
    span = started(recorder)
    recorder.stop(timedelta(seconds=30))

    span.end()
    started(recorder).end()
