"""Recorder of spans over OpenTelemetry's SDK, which sends them to a collector (OTLP over HTTP).

The SDK reads its own variables (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME``,
``OTEL_TRACES_SAMPLER``, ``OTEL_BSP_...``). A thread of the SDK sends the spans. What ends a span
only appends to a bounded queue: a span is dropped, and counted, when the queue is full, or when the
collector does not take it within the time-out of the exporter.

Import this module only when spans are recorded: it imports the SDK.
"""

import logging
import os
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from importlib.metadata import version
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE, OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from batch_gateway import meters
from batch_gateway.core import tracing
from batch_gateway.traces import Attributes, Kind, Span

logger = logging.getLogger(__name__)

_KINDS: Final = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
}
_CONTEXTS = TraceContextTextMapPropagator()
_DEFAULT_QUEUE = 2048  # spans; the SDK's own default
_LOG_EVERY_S = 60.0


class OtelRecorder:
    """Records spans of the function ``name``; start it in the process that it serves."""

    def __init__(self, name: str, *, instance: str, endpoint: str | None = None) -> None:
        """``instance`` names the process among those of the function; ``endpoint`` is the base URL
        of the collector, None: as the SDK's variables say."""
        release = version("batch-gateway")
        given = os.environ.get(OTEL_SERVICE_NAME)
        resource = Resource.create(
            {
                "service.name": given or "batch-gateway",
                "service.version": release,
                "faas.name": name,
                "faas.instance": instance,
            }
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(_BoundedProcessor(_CountingExporter(endpoint)))
        self._tracer: Tracer = self._provider.get_tracer("batch_gateway", release)

    def start(self, name: str, parent: str | None, *, kind: Kind, attributes: Attributes) -> Span:
        """Raises nothing: the SDK logs what is wrong with a span."""
        context = _CONTEXTS.extract(tracing.fields(parent)) if parent else Context()
        return _RecordedSpan(
            self._tracer.start_span(name, context, kind=_KINDS[kind], attributes=dict(attributes))
        )

    def stop(self, patience: timedelta) -> None:
        """Send what is queued; what is not sent within ``patience`` is dropped.

        A thread does it, because the SDK itself waits for as long as the exporter does.
        """
        stopping = threading.Thread(target=self._provider.shutdown, daemon=True)
        stopping.start()
        stopping.join(patience.total_seconds())


class _RecordedSpan:
    """A span of the SDK, or the SDK's own stand-in for one that the sampler leaves out."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _CONTEXTS.inject(carrier, set_span_in_context(span, Context()))
        self.context = tracing.valid(carrier.get("traceparent"), carrier.get("tracestate"))
        self.recorded = span.is_recording()

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(StatusCode.ERROR)

    def end(self) -> None:
        self._span.end()


class _CountingExporter(SpanExporter):
    """OTLP over HTTP, counting what was sent and what was not."""

    def __init__(self, endpoint: str | None) -> None:
        # Each failure is logged at least once by these; once a minute is enough, and that is here.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        url = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
        self._exporter = OTLPSpanExporter(endpoint=url)
        self._quiet_until = 0.0
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - a span is not worth more than a message
            result = SpanExportResult.FAILURE
            self._log(f"{type(error).__name__}: {error}")
        if result is SpanExportResult.SUCCESS:
            meters.SPANS_SENT.inc(len(spans))
        else:
            meters.SPANS_DROPPED.labels("not_sent").inc(len(spans))
            self._log("the collector does not take them")
        return result

    def _log(self, why: str) -> None:
        if (now := time.monotonic()) >= self._quiet_until:
            self._quiet_until = now + _LOG_EVERY_S
            logger.warning("Spans are dropped: %s", why, extra={"action": "traces"})

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _BoundedProcessor(SpanProcessor):
    """The SDK's batches, with the spans counted for which the queue has no room.

    The SDK would drop the oldest ones and count nothing.
    """

    def __init__(self, exporter: _CountingExporter) -> None:
        self._most = _positive(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE), _DEFAULT_QUEUE)
        self._exporter = exporter
        self._given = 0
        self._batches = BatchSpanProcessor(exporter, max_queue_size=self._most)

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self._given - self._exporter.taken >= self._most:
            meters.SPANS_DROPPED.labels("queue_full").inc()
            return
        self._given += 1
        self._batches.on_end(span)

    def shutdown(self) -> None:
        self._batches.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._batches.force_flush(timeout_millis)


def _positive(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and int(text) else default
