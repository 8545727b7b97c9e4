"""Counters of this process, for Prometheus.

The state of the whole service (queue, limits, batches) is told by ``state_metrics``: a process
that is at zero cannot be scraped.
"""

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

__all__ = [
    "CONTENT_TYPE_LATEST",
    "EVENTS",
    "EVENT_SECONDS",
    "REQUESTS",
    "REQUESTS_OPEN",
    "REQUEST_SECONDS",
    "UPLOADED_BYTES",
    "generate_latest",
]

REQUESTS = Counter(
    "batch_gateway_http_requests_total",
    "Requests to the API that were answered.",
    ["method", "route", "status"],
)
REQUEST_SECONDS = Histogram(
    "batch_gateway_http_request_seconds",
    "Time from a request to the API to the end of its answer.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
REQUESTS_OPEN = Gauge("batch_gateway_http_requests_open", "Requests to the API now being served.")
UPLOADED_BYTES = Counter("batch_gateway_uploaded_bytes_total", "Bytes of files that were kept.")
EVENTS = Counter(
    "batch_gateway_events_total",
    "CloudEvents handled, by type and outcome.",
    ["function", "type", "outcome"],
)
EVENT_SECONDS = Histogram(
    "batch_gateway_event_seconds",
    "Time that handling a CloudEvent took.",
    ["function", "type"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600),
)
