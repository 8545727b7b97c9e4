"""Prometheus metrics of HTTP and of events in this process.

``state_metrics`` has the state of the whole service (queue, limits, batches), because a function
that is scaled to zero cannot be scraped.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from batch_gateway import traces

REQUESTS = Counter(
    "batch_gateway_http_requests_total",
    "API requests that got a response.",
    ["method", "route", "status"],
)
REQUEST_SECONDS = Histogram(
    "batch_gateway_http_request_seconds",
    "Time from an API request to the end of its response, in seconds.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
REQUESTS_OPEN = Gauge("batch_gateway_http_requests_open", "API requests in progress.")
UPLOADED_BYTES = Counter("batch_gateway_uploaded_bytes_total", "Bytes of uploaded files.")
EVENTS = Counter(
    "batch_gateway_events_total",
    "Handled CloudEvents, by function, type and outcome.",
    ["function", "type", "outcome"],
)
EVENT_SECONDS = Histogram(
    "batch_gateway_event_seconds",
    "Duration of handling a CloudEvent, in seconds.",
    ["function", "type"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600),
)
DISK_FREE = Gauge(
    "batch_gateway_disk_free_bytes",
    "Free space on the disk of a store's folder, in bytes.",
    ["store"],
)
DISK_SIZE = Gauge(
    "batch_gateway_disk_bytes", "Size of the disk of a store's folder, in bytes.", ["store"]
)


def measure_disk(store: str, folder: Path) -> None:
    """Report the disk of ``folder``, which has the data of ``store``, whenever metrics are read."""
    DISK_FREE.labels(store).set_function(_unless_gone(lambda: shutil.disk_usage(folder).free))
    DISK_SIZE.labels(store).set_function(_unless_gone(lambda: shutil.disk_usage(folder).total))


def _unless_gone(measured: Callable[[], float]) -> Callable[[], float]:
    def value() -> float:
        try:
            return measured()
        except OSError:
            return float("nan")

    return value


def page(accept: str) -> tuple[bytes, str]:
    """The metrics of this process and their media type.

    Prometheus' text format; while spans are recorded, OpenMetrics for those that ``accept`` it,
    because only that has exemplars.
    """
    if traces.enabled() and "application/openmetrics-text" in accept:
        from prometheus_client.openmetrics import exposition

        content: bytes = exposition.generate_latest(REGISTRY)  # type: ignore[no-untyped-call]
        return content, exposition.CONTENT_TYPE_LATEST
    return generate_latest(), CONTENT_TYPE_LATEST
