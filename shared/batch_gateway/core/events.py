"""Events: their types, ids, payloads and signature.

An event is a hint that there may be work, and news for other systems (``core.lifecycle``); it
grants nothing that the database does not. A fact's id derives from its cause, so announcing it
again gives the same id; a wake-up's id is fresh. Our events carry an HMAC over what they say as the
extension attribute ``gwsignature``, which every broker forwards.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from batch_gateway.core.ids import BatchId

SOURCE = "/batch-gateway"
_PREFIX = "dev.batchgateway"


class EventType(StrEnum):
    BATCH_REQUESTED = f"{_PREFIX}.batch.requested.v1"  # -> intake, by other systems
    BATCH_REJECTED = f"{_PREFIX}.batch.rejected.v1"  # what was requested is no batch
    BATCH_CREATED = f"{_PREFIX}.batch.created.v1"  # -> planner
    BATCH_IN_PROGRESS = f"{_PREFIX}.batch.in_progress.v1"
    BATCH_PROGRESS = f"{_PREFIX}.batch.progress.v1"
    BATCH_AT_RISK = f"{_PREFIX}.batch.at_risk.v1"
    BATCH_CANCELLING = f"{_PREFIX}.batch.cancelling.v1"  # -> assembler
    BATCH_EXPIRING = f"{_PREFIX}.batch.expiring.v1"  # -> assembler
    BATCH_EXECUTED = f"{_PREFIX}.batch.executed.v1"  # -> assembler: the last shard is closed
    BATCH_COMPLETED = f"{_PREFIX}.batch.completed.v1"
    BATCH_FAILED = f"{_PREFIX}.batch.failed.v1"
    BATCH_EXPIRED = f"{_PREFIX}.batch.expired.v1"
    BATCH_CANCELLED = f"{_PREFIX}.batch.cancelled.v1"
    WORK_AVAILABLE = f"{_PREFIX}.work.available.v1"  # -> executor: opens an activation
    WEBHOOK_DUE = f"{_PREFIX}.webhook.due.v1"  # -> notifier: a delivery's time has come
    UPKEEP_DUE = f"{_PREFIX}.upkeep.due.v1"  # -> janitor: there is work to look after
    PING = "dev.knative.sources.ping"  # -> janitor


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A CloudEvent in the form that services use. ``data`` is small and JSON, without fractions."""

    id: str
    type: EventType
    subject: str  # the batch's id; "work" for wake-ups
    data: Mapping[str, Any]
    time: datetime | None = None  # of the fact; None: when it is sent
    traceparent: str | None = None  # the trace context of its cause (``core.tracing``)


def internal_event(type_: EventType, batch: BatchId, *, traceparent: str | None = None) -> Event:
    """What has happened to ``batch``; the same fact always has the same id."""
    return Event(
        id=internal_event_id(type_, batch),
        type=type_,
        subject=batch,
        data={"batch_id": batch},
        traceparent=traceparent,
    )


def internal_event_id(type_: EventType, batch: BatchId) -> str:
    name = type_.removeprefix(f"{_PREFIX}.batch.").removesuffix(".v1")
    return f"{batch}/{name}"


def wake_up(random: bytes, *, traceparent: str | None = None) -> Event:
    """There may be work: opens one activation."""
    return _hint(EventType.WORK_AVAILABLE, "work", random, traceparent)


def deliveries_due(random: bytes, *, traceparent: str | None = None) -> Event:
    """There are webhooks to be delivered."""
    return _hint(EventType.WEBHOOK_DUE, "webhooks", random, traceparent)


def upkeep_due(random: bytes) -> Event:
    """There is work for the janitor."""
    return _hint(EventType.UPKEEP_DUE, "upkeep", random)


def _hint(type_: EventType, subject: str, random: bytes, traceparent: str | None = None) -> Event:
    """An event that stands for no fact: each is another one."""
    name = f"{subject}/{random[:12].hex()}"
    return Event(id=name, type=type_, subject=subject, data={}, traceparent=traceparent)


def signature(key: bytes, event: Event) -> str:
    """Hex HMAC-SHA256 over id, source, type, subject and data.

    Each field is preceded by its length, so no two events share the signed bytes.
    """
    data = msgspec.json.encode(dict(event.data), order="sorted")
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for text in (event.id, SOURCE, str(event.type), event.subject):
        raw = text.encode()
        mac.update(b"%d:" % len(raw) + raw)
    mac.update(data)
    return mac.hexdigest()


def signed_by(keys: Sequence[bytes], event: Event, signed: str) -> bool:
    """Whether any of ``keys`` made ``signed``; two keys are valid while one is rotated."""
    return any(hmac.compare_digest(signature(key, event), signed) for key in keys)
