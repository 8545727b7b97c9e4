"""Prometheus counters of the use cases in this process.

``web.metrics`` has those of HTTP, ``services.state_snapshot`` the state of the whole service.
"""

from prometheus_client import Counter, Histogram

from batch_gateway.core.lines import PartLine
from batch_gateway.core.retry import CallOutcome

CALLS = Counter(
    "batch_gateway_model_calls_total",
    "Ended model calls, by outcome: success, ignored (error of the request) or dropped (overload).",
    ["outcome"],
)
CALL_SECONDS = Histogram(
    "batch_gateway_model_call_seconds",
    "Duration of successful model calls, in seconds.",
    ["model"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600),
)
FIRST_TOKEN_SECONDS = Histogram(
    "batch_gateway_model_first_token_seconds",
    "Time to first token of successful model calls, in seconds, if the engine reports it.",
    ["model"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
WEBHOOK_ATTEMPTS = Counter(
    "batch_gateway_webhook_attempts_total",
    "Webhook delivery attempts, by outcome: delivered, to be retried, or given up.",
    ["outcome"],
)
TOKENS = Counter(
    "batch_gateway_tokens_total",
    "Tokens of successful requests, as reported by engines, by kind; input includes cached.",
    ["kind"],
)
FLUSHES = Counter("batch_gateway_flushes_total", "Stored parts with results.")
FLUSHED_LINES = Counter("batch_gateway_flushed_lines_total", "Result lines in stored parts.")
LEASES_LOST = Counter(
    "batch_gateway_leases_lost_total",
    "Leases that ended before their executor released them: reclaimed, or the shard was closed.",
)
SHARDS_UNREADABLE = Counter(
    "batch_gateway_shards_unreadable_total",
    "Shards closed with error lines because their requests or rows could not be read.",
)
UNFORESEEN_ERRORS = Counter(
    "batch_gateway_executor_errors_total",
    "Unexpected exceptions in executors, by component.",
    ["where"],
)
CORRUPT_ROWS = Counter(
    "batch_gateway_corrupt_rows_total",
    "Database rows that were skipped because they could not be decoded, by kind.",
    ["kind"],
)
SWEEPS = Counter("batch_gateway_sweeps_total", "Sweeps of the janitor: done or failed.", ["how"])
SWEEP_STEPS_FAILED = Counter(
    "batch_gateway_sweep_steps_failed_total", "Failed steps of sweeps.", ["step"]
)
SWEEP_ITEMS_FAILED = Counter(
    "batch_gateway_sweep_items_failed_total",
    "Items (batches, shards, files and others) for which a step of a sweep failed.",
    ["step"],
)
PARTS_LOST = Counter(
    "batch_gateway_parts_lost_total",
    "Stored parts of results that are permanently missing or damaged.",
)
AUDIT_ENTRIES_LOST = Counter(
    "batch_gateway_audit_entries_lost_total",
    "Audit log entries that could not be stored; the log of the process contains them.",
)
ENDPOINT_UNAUTHORIZED = Counter(
    "batch_gateway_endpoint_unauthorized_total",
    "Pauses of an endpoint's calls because it refused the configured credentials.",
    ["endpoint"],
)
BATCHES_ISOLATED = Counter(
    "batch_gateway_batches_isolated_total",
    "Batches whose calls an endpoint did not answer, while it answered those of other batches.",
    ["endpoint"],
)

STORAGE_FULL = Counter(
    "batch_gateway_storage_full_total",
    "Writes refused because the disk, memory or quota of a store is full.",
    ["store"],
)

SPANS_SENT = Counter("batch_gateway_spans_sent_total", "Spans accepted by the collector.")
SPANS_DROPPED = Counter(
    "batch_gateway_spans_dropped_total",
    "Dropped spans, by reason: queue_full, or not_sent if the collector did not accept them.",
    ["reason"],
)

_OUTCOMES = {outcome: CALLS.labels(outcome.value) for outcome in CallOutcome}
_TOKENS = [TOKENS.labels(kind) for kind in ("input", "cached", "output", "reasoning")]
SWEEPS_DONE, SWEEPS_FAILED = SWEEPS.labels("done"), SWEEPS.labels("failed")


#: The label of models beyond the first ``_MODELS`` of a process; no name has parentheses.
OTHERS = "(others)"
_MODELS = 50
_by_model: dict[str, tuple[Histogram, Histogram]] = {}  # duration, first token


def call_ended(
    outcome: CallOutcome,
    result: PartLine | None,
    *,
    model: str,
    seconds: float,
    first_token_ms: int = -1,
    trace_id: str | None = None,
) -> None:
    """Count a call of ``model``; ``result`` None: the request is tried again.

    ``first_token_ms`` -1: it is not known; ``trace_id`` of a call with a span becomes an exemplar.
    """
    _OUTCOMES[outcome].inc()
    if result is None or not result.ok:
        return
    for counter, tokens in zip(_TOKENS, result.tokens, strict=True):
        if tokens:
            counter.inc(tokens)
    duration, first_token = _by_model.get(model) or _histograms(model)
    exemplar = None if trace_id is None else {"trace_id": trace_id}
    duration.observe(seconds, exemplar)
    if first_token_ms >= 0:
        first_token.observe(first_token_ms / 1000, exemplar)


def _histograms(model: str) -> tuple[Histogram, Histogram]:
    """Those of ``model``, or of the others when there are enough with their own."""
    name = model if len(_by_model) < _MODELS else OTHERS
    made = CALL_SECONDS.labels(name), FIRST_TOKEN_SECONDS.labels(name)
    if name == model:
        _by_model[model] = made
    return made


def flushed(lines: int) -> None:
    FLUSHES.inc()
    FLUSHED_LINES.inc(lines)
