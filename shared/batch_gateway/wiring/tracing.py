"""Records the spans of a function while it is served, if tracing is configured."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from batch_gateway import traces
from batch_gateway.extras import require
from batch_gateway.settings import Settings

#: How long the end of a process waits for a collector.
_LAST_SPANS = timedelta(seconds=2)


@asynccontextmanager
async def recorded_spans(settings: Settings, name: str) -> AsyncIterator[None]:
    """Record the spans of the function ``name`` as long as the context is open.

    Nothing of OpenTelemetry is imported unless ``tracing.enabled``. Raises MissingExtra.
    """
    if not settings.tracing.enabled:
        yield
        return
    require("otel", "tracing.enabled")
    from batch_gateway.adapters.otel import OtelRecorder

    recorder = OtelRecorder(name, instance=socket.gethostname(), endpoint=settings.tracing.endpoint)
    traces.record_with(recorder)
    try:
        yield
    finally:
        traces.record_with(None)
        await asyncio.to_thread(recorder.stop, _LAST_SPANS)
