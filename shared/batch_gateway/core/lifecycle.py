"""Public events of the life cycle of a batch.

``docs/asyncapi.yaml`` describes these events exactly. A fact has the same id and
content however often it is published: later changes of the batch are left out. Progress and risk
are published for running batches; their ids name the step, so each counts once.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batch_gateway.core.batch_request import SourceEvent
from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.events import Event, EventType, internal_event_id
from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import TERMINAL, Batch, BatchStatus, LineCounts

#: Steps in which progress is reported, in percent.
STEP = 10

#: Event type -> the status that it reports.
_STATUS = {
    EventType.BATCH_CREATED: BatchStatus.VALIDATING,
    EventType.BATCH_IN_PROGRESS: BatchStatus.IN_PROGRESS,
    EventType.BATCH_COMPLETED: BatchStatus.COMPLETED,
    EventType.BATCH_FAILED: BatchStatus.FAILED,
    EventType.BATCH_EXPIRED: BatchStatus.EXPIRED,
    EventType.BATCH_CANCELLED: BatchStatus.CANCELLED,
}

#: A terminal status -> the fact that it makes true.
ENDED = {status: type_ for type_, status in _STATUS.items() if status in TERMINAL}

_INSTANTS = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)

#: Where a batch comes from: name in the data, its option, and the part of that (None: all of it).
_ORIGINS = (
    ("retry_of", "retry", "batch"),
    ("after", "after", "batch_id"),
    ("cause", "cause", None),
)


def lifecycle_event(type_: EventType, batch: Batch) -> Event:
    """The event that ``batch`` was created, is in progress or has ended."""
    then = _as_it_was(batch, _STATUS[type_])
    return _event(type_, then, internal_event_id(type_, batch.id), at=then.status_since)


def terminal_event(batch: Batch) -> Event:
    """What has become of a batch that is terminal."""
    return lifecycle_event(ENDED[batch.status], batch)


def progress_event(batch: Batch, percent: int, now: datetime) -> Event:
    """That ``percent`` of the lines of a running batch have results."""
    id_ = f"{internal_event_id(EventType.BATCH_PROGRESS, batch.id)}/{percent}"
    return _event(EventType.BATCH_PROGRESS, batch, id_, at=now, percent=percent)


def at_risk_event(batch: Batch, now: datetime) -> Event:
    """That ``batch`` will probably miss its deadline."""
    type_ = EventType.BATCH_AT_RISK
    return _event(type_, batch, internal_event_id(type_, batch.id), at=now)


def rejected_event(
    tenant: TenantId,
    cause: SourceEvent,
    refusal: InvalidRequest,
    now: datetime,
    *,
    traceparent: str | None,
) -> Event:
    """The event that no batch is created for the request in ``cause``."""
    return Event(
        id=f"rejected/{cause.key[:32]}",
        type=EventType.BATCH_REJECTED,
        subject=cause.id,
        data={
            "tenant": tenant,
            "cause": {"source": cause.source, "id": cause.id},
            "reason": {
                "code": refusal.code,
                "message": refusal.message,
                "param": refusal.param,
            },
        },
        time=now,
        traceparent=traceparent,
    )


def step_reached(counts: LineCounts) -> int:
    """The last step of progress that is complete, in percent: 0 to 100."""
    if not counts.total:
        return 0
    return (counts.completed + counts.failed) * 100 // counts.total // STEP * STEP


def _as_it_was(batch: Batch, status: BatchStatus) -> Batch:
    """``batch`` when it entered ``status``; a terminal one is as it is."""
    if status in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS):
        begun = status is BatchStatus.IN_PROGRESS
        counts = LineCounts(total=batch.counts.total) if begun else LineCounts()
        later = {name: None for name in _INSTANTS if not (begun and name == "in_progress_at")}
        model = batch.model if begun else None
        return batch.evolve(status=status, counts=counts, model=model, **later)
    return batch


def _event(type_: EventType, batch: Batch, id_: str, *, at: datetime | None, **more: Any) -> Event:
    return Event(
        id=id_,
        type=type_,
        subject=batch.id,
        data={**_data(batch), **more},
        time=at,
        traceparent=batch.traceparent,
    )


def _data(batch: Batch) -> Mapping[str, Any]:
    """Ids, states and numbers: the content of a line is never in an event."""
    data: dict[str, Any] = {
        "batch_id": batch.id,
        "tenant": batch.tenant,
        "status": batch.status.value,
        "endpoint": batch.endpoint,
        "model": batch.model,
        "input_file_id": batch.input_file_id,
        "request_counts": {
            "total": batch.counts.total,
            "completed": batch.counts.completed,
            "failed": batch.counts.failed,
        },
        "created_at": int(batch.created_at.timestamp()),
        "expires_at": int(batch.deadline.timestamp()),
        "metadata": None if batch.metadata is None else dict(batch.metadata),
    }
    for name in _INSTANTS:
        if (instant := getattr(batch, name)) is not None:
            data[name] = int(instant.timestamp())
    if batch.terminal:
        data |= {"output_file_id": batch.output_file_id, "error_file_id": batch.error_file_id}
    if batch.terminal and batch.errors:
        first = batch.errors[0]
        data["reason"] = {"code": first.code, "message": first.message, "line": first.line}
    for name, option, field in _ORIGINS:
        if (origin := batch.options.get(option)) is not None:
            data[name] = origin if field is None else origin[field]
    return data
