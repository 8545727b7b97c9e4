"""Usage: daily sums over ended batches. They outlive the batches."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from batch_gateway.core.batch_summary import BatchSummary, ModelTotals
from batch_gateway.core.engine_values import total
from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import Batch
from batch_gateway.core.planning import INVALID

#: Names of the fields of a record that are added up.
AMOUNTS = (
    "batches",
    "completed",
    "failed",
    "not_run",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """What the batches of one tenant and API key came to, for one model, that ended on one day."""

    day: date  # UTC
    tenant: TenantId
    api_key: str  # id of the key that created the batches; "": not created by an API key
    model: str  # as requests name it; "": of requests that name no known one
    batches: int = 0  # counted once each, for the model of their first request
    completed: int = 0  # requests that were answered with success
    failed: int = 0  # requests that ended with an error
    not_run: int = 0  # requests that were not run because their batch was cancelled or expired
    input_tokens: int = 0
    cached_tokens: int = 0  # part of input_tokens
    output_tokens: int = 0
    reasoning_tokens: int = 0  # part of output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What is kept of a batch when it ends."""

    summary: str  # encoded ``BatchSummary``: goes with the batch
    usage: tuple[UsageRecord, ...] = ()  # is added to the usage of that day: stays


def report_of(batch: Batch, now: datetime, summary: BatchSummary) -> BatchReport:
    """The report of ``batch``, as it is at its end, which is ``now``.

    Requests that are the same as another's and answers that were taken over from a retried batch
    count as completed, without tokens: no call was made for them. A dry run has no usage.
    """
    if batch.is_dry:
        return BatchReport(summary=summary.encoded())
    day, first = now.astimezone(UTC).date(), batch.model or INVALID
    lines = sum(known.lines for known in summary.models.values())
    unplanned = max(0, batch.counts.total - lines)
    return BatchReport(
        summary=summary.encoded(),
        usage=tuple(
            _record(batch, day, model, summary, model == first, unplanned)
            for model in sorted({first, *summary.models})
        ),
    )


def _record(
    batch: Batch, day: date, model: str, summary: BatchSummary, first: bool, unplanned: int
) -> UsageRecord:
    known = summary.models.get(model, ModelTotals())
    not_run = max(0, known.lines - known.completed - known.failed)
    return UsageRecord(
        day=day,
        tenant=batch.tenant,
        api_key=batch.api_key or "",
        model=model,
        batches=int(first),
        completed=known.completed,
        failed=known.failed,
        not_run=not_run + (unplanned if first else 0),
        input_tokens=known.input_tokens,
        cached_tokens=known.cached_tokens,
        output_tokens=known.output_tokens,
        reasoning_tokens=known.reasoning_tokens,
    )


def summed(records: Iterable[UsageRecord]) -> Mapping[str, int]:
    """The amounts of all ``records`` together, by name; a sum ends at 2**63 - 1."""
    sums = dict.fromkeys(AMOUNTS, 0)
    for record in records:
        for name in AMOUNTS:
            sums[name] = total(sums[name], getattr(record, name))
    return sums
