"""Events: their types, ids, payloads and signature.

An event is a hint that there may be work; it carries ids only and grants nothing that the
database does not. A fact's id derives from its cause, so announcing it again gives the same id;
a wake-up's id is fresh. Internal events carry an HMAC over what they say as the extension
attribute ``gwsignature``, which every broker forwards.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from batch_gateway.core.ids import BatchId

SOURCE = "/batch-gateway"
_PREFIX = "dev.batchgateway"


class EventType(StrEnum):
    BATCH_CREATED = f"{_PREFIX}.batch.created.v1"  # -> planner
    BATCH_CANCELLING = f"{_PREFIX}.batch.cancelling.v1"  # -> assembler
    BATCH_EXPIRING = f"{_PREFIX}.batch.expiring.v1"  # -> assembler
    BATCH_EXECUTED = f"{_PREFIX}.batch.executed.v1"  # -> assembler: the last shard is closed
    BATCH_COMPLETED = f"{_PREFIX}.batch.completed.v1"
    BATCH_FAILED = f"{_PREFIX}.batch.failed.v1"
    BATCH_EXPIRED = f"{_PREFIX}.batch.expired.v1"
    BATCH_CANCELLED = f"{_PREFIX}.batch.cancelled.v1"
    WORK_AVAILABLE = f"{_PREFIX}.work.available.v1"  # -> executor: opens an activation
    PING = "dev.knative.sources.ping"  # -> janitor


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A CloudEvent as the services see it. ``data`` is small and JSON."""

    id: str
    type: EventType
    subject: str  # the batch's id; "work" for wake-ups
    data: Mapping[str, str]
    traceparent: str | None = None


def fact(type_: EventType, batch: BatchId, *, traceparent: str | None = None) -> Event:
    """What has happened to ``batch``; the same fact always has the same id."""
    name = type_.removeprefix(f"{_PREFIX}.batch.").removesuffix(".v1")
    return Event(
        id=f"{batch}/{name}",
        type=type_,
        subject=batch,
        data={"batch_id": batch},
        traceparent=traceparent,
    )


def wake_up(random: bytes) -> Event:
    """There may be work: opens one activation."""
    return Event(
        id=f"work/{random[:12].hex()}", type=EventType.WORK_AVAILABLE, subject="work", data={}
    )


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
