"""Objects of usage, cost and analytics, in the form of OpenAI's usage API where it has one.

OpenAI's project is our tenant. Amounts of money are decimal texts: a JSON number would be rounded
by most readers.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, Self

from pydantic import BaseModel

from batch_gateway.core.call_statistics import (
    CallStatistics,
    Histogram,
    percentile,
    upper_bound,
)
from batch_gateway.core.model import Batch
from batch_gateway.services.batches.analytics import BatchAnalytics, ModelUse
from batch_gateway.services.usage import UsageGroup, UsageInterval
from batch_gateway.web.openai import BatchUsage, RequestCounts, whole_seconds

PERCENTILES = (50, 90, 95, 99)


class Amount(BaseModel):
    value: str  # decimal, such as "0.001250"
    currency: str  # ISO 4217, in capitals

    @classmethod
    def of(cls, value: Decimal | None, currency: str) -> Self | None:
        return None if value is None else cls(value=decimal_text(value), currency=currency)


class Phase(BaseModel):
    """One phase of a batch; the last one has no end while the batch is open."""

    name: Literal["validating", "in_progress", "finalizing", "cancelling"]
    started_at: int
    ended_at: int | None
    duration_s: float | None  # None: it has not ended


class TimelinePoint(BaseModel):
    start_time: int
    completed: int
    failed: int
    input_tokens: int
    output_tokens: int


class Timeline(BaseModel):
    """What was finished in each interval; intervals without anything are left out."""

    interval_s: int
    points: list[TimelinePoint]


class HistogramBucket(BaseModel):
    le_ms: float  # longest duration of the bucket
    count: int  # durations in this bucket alone


class Latency(BaseModel):
    """A percentile is the upper bound of its bucket; None: nothing was measured."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    buckets: list[HistogramBucket]

    @classmethod
    def of(cls, histogram: Histogram, sum_ms: int) -> Self:
        number = sum(histogram.values())
        return cls(
            count=number,
            mean_ms=round(sum_ms / number, 3) if number else None,
            **{
                f"p{share}_ms": _rounded(percentile(histogram, share / 100))
                for share in PERCENTILES
            },
            buckets=[
                HistogramBucket(le_ms=round(upper_bound(at), 3), count=histogram[at])
                for at in sorted(histogram)
            ],
        )


class Latencies(BaseModel):
    call: Latency  # of the calls that gave the results
    first_token: Latency  # of those whose engine reports it


class ReasonCount(BaseModel):
    reason: str
    count: int


class ErrorExample(BaseModel):
    line: int
    custom_id: str | None
    message: str


class ErrorCount(BaseModel):
    """Failed requests with one error; ``code`` is a word that ``retry`` takes in ``errors``."""

    code: str
    count: int
    example: ErrorExample


class ModelUsage(BaseModel):
    model: str
    request_counts: RequestCounts
    usage: BatchUsage
    cost: Amount | None  # None: the model has no price


class BatchAnalyticsObject(BaseModel):
    object: Literal["batch.analytics"] = "batch.analytics"
    batch_id: str
    status: str
    phases: list[Phase]
    request_counts: RequestCounts
    usage: BatchUsage | None
    timeline: Timeline
    latency: Latencies
    retries: list[ReasonCount]  # attempts that failed and were followed by another one
    aborts: list[ReasonCount]  # calls that the gateway ended
    errors: list[ErrorCount]  # the most frequent first
    models: list[ModelUsage]
    cost: Amount | None  # None: no model of the batch has a price

    @classmethod
    def of(cls, found: BatchAnalytics) -> Self:
        batch, calls = found.batch, found.statistics
        counts = batch.counts
        return cls(
            batch_id=batch.id,
            status=batch.status.value,
            phases=phases(batch),
            request_counts=RequestCounts(
                total=counts.total, completed=counts.completed, failed=counts.failed
            ),
            usage=None if batch.usage is None else BatchUsage.of(batch.usage),
            timeline=_timeline(calls),
            latency=Latencies(
                call=Latency.of(calls.calls, calls.calls_ms),
                first_token=Latency.of(calls.first_tokens, calls.first_tokens_ms),
            ),
            retries=_reasons(calls.retries),
            aborts=_reasons(calls.aborts),
            errors=_errors(calls),
            models=[_model(use, found.currency) for use in found.models],
            cost=Amount.of(found.cost, found.currency),
        )


class UsageResult(BaseModel):
    """Sums over ended batches of one group; a key that is not grouped by is null."""

    object: Literal["usage.result"] = "usage.result"
    project_id: str | None  # the tenant
    api_key_id: str | None
    model: str | None
    num_batches: int
    num_model_requests: int  # requests that were completed or failed
    completed_requests: int
    failed_requests: int
    not_run_requests: int  # their batch was cancelled or had expired
    input_tokens: int
    input_cached_tokens: int  # part of input_tokens
    output_tokens: int
    output_reasoning_tokens: int  # part of output_tokens
    cost: Amount | None  # None: no model of the group has a price

    @classmethod
    def of(cls, group: UsageGroup, currency: str) -> Self:
        sums = group.sums
        return cls(
            project_id=group.tenant,
            api_key_id=group.api_key,
            model=group.model,
            num_batches=sums["batches"],
            num_model_requests=sums["completed"] + sums["failed"],
            completed_requests=sums["completed"],
            failed_requests=sums["failed"],
            not_run_requests=sums["not_run"],
            input_tokens=sums["input_tokens"],
            input_cached_tokens=sums["cached_tokens"],
            output_tokens=sums["output_tokens"],
            output_reasoning_tokens=sums["reasoning_tokens"],
            cost=Amount.of(group.cost, currency),
        )


class UsageBucket(BaseModel):
    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[UsageResult]

    @classmethod
    def of(cls, bucket: UsageInterval, currency: str) -> Self:
        return cls(
            start_time=midnight(bucket.first),
            end_time=midnight(bucket.end),
            results=[UsageResult.of(group, currency) for group in bucket.groups],
        )


class UsagePage(BaseModel):
    object: Literal["page"] = "page"
    data: Sequence[UsageBucket]
    has_more: bool
    next_page: str | None


def midnight(day: date) -> int:
    """When a day begins in UTC, in Unix seconds."""
    return (day - date(1970, 1, 1)).days * 86_400


def decimal_text(value: Decimal) -> str:
    """Without an exponent, and with at most nine places."""
    text = f"{value:.9f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def phases(batch: Batch) -> list[Phase]:
    """The phases of a batch in order, from its timestamps."""
    ends = (batch.completed_at, batch.failed_at, batch.expired_at, batch.cancelled_at)
    ended = next((instant for instant in ends if instant is not None), None)
    starts: list[tuple[Literal["validating", "in_progress", "finalizing", "cancelling"], datetime]]
    starts = [("validating", batch.created_at)]
    if batch.in_progress_at is not None:
        starts.append(("in_progress", batch.in_progress_at))
    if batch.finalizing_at is not None:
        starts.append(("finalizing", batch.finalizing_at))
    if batch.cancelling_at is not None:
        starts.append(("cancelling", batch.cancelling_at))
    starts.sort(key=lambda start: start[1])
    found = []
    for at, (name, start) in enumerate(starts):
        end = starts[at + 1][1] if at + 1 < len(starts) else ended
        lasted = None if end is None else round((end - start).total_seconds(), 3)
        found.append(
            Phase(
                name=name,
                started_at=int(start.timestamp()),
                ended_at=whole_seconds(end),
                duration_s=lasted,
            )
        )
    return found


def _timeline(calls: CallStatistics) -> Timeline:
    return Timeline(
        interval_s=calls.width,
        points=[
            TimelinePoint(
                start_time=start,
                completed=point.completed,
                failed=point.failed,
                input_tokens=point.input_tokens,
                output_tokens=point.output_tokens,
            )
            for start, point in sorted(calls.timeline.items())
        ],
    )


def _reasons(counts: Mapping[str, int]) -> list[ReasonCount]:
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [ReasonCount(reason=reason, count=number) for reason, number in most_first]


def _errors(calls: CallStatistics) -> list[ErrorCount]:
    most_first = sorted(calls.errors.items(), key=lambda item: (-item[1].count, item[0]))
    return [
        ErrorCount(
            code=code,
            count=found.count,
            example=ErrorExample(line=found.line, custom_id=found.custom_id, message=found.message),
        )
        for code, found in most_first
    ]


def _model(use: ModelUse, currency: str) -> ModelUsage:
    return ModelUsage(
        model=use.model,
        request_counts=RequestCounts(
            total=use.sums.lines, completed=use.sums.completed, failed=use.sums.failed
        ),
        usage=BatchUsage.of(use.sums.usage),
        cost=Amount.of(use.cost, currency),
    )


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 3)
