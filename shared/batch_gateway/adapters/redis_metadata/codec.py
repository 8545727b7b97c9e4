"""Values as stored rows, and back.

A row is a mapping of text to text. Numbers are decimal, instants whole microseconds since the
epoch (exact in a Lua double until 2255), flags ``1`` and ``0``, compound values JSON that only
Python looks into. None is a missing field.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from batch_gateway.core.api_keys import ApiKey
from batch_gateway.core.events import Event
from batch_gateway.core.idempotency import Answered, Claim
from batch_gateway.core.ids import ActivationId, BatchId, split_shard_id
from batch_gateway.core.model import (
    Batch,
    BatchError,
    BatchStatus,
    Counts,
    Ending,
    File,
    Lease,
    LeaseRef,
    Part,
    Shard,
    ShardState,
    Tally,
    Usage,
)
from batch_gateway.core.uploads import Upload, UploadStatus

Row = Mapping[str, str]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_USAGE = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


def micros(instant: datetime) -> str:
    return str((instant - _EPOCH) // _MICROSECOND)


def instant(text: str) -> datetime:
    return _EPOCH + int(text) * _MICROSECOND


def json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one field is written and read."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]


def _json(type_: Any) -> _Kind:
    return _Kind(json_text, msgspec.json.Decoder(type_).decode)


_TEXT = _Kind(str, str)
_NUMBER = _Kind(str, int)
_FLAG = _Kind(lambda flag: "1" if flag else "0", lambda text: text == "1")
_INSTANT = _Kind(micros, instant)
_PARTS = _json(tuple[Part, ...])
_TALLY = _json(Tally)
_EVENT = _json(Event)
_PLAN = _json(tuple[str, str, int, int])  # model, key, lines, cost

_FILE = {
    "id": _TEXT,
    "tenant": _TEXT,
    "purpose": _TEXT,
    "filename": _TEXT,
    "size": _NUMBER,
    "lines": _NUMBER,
    "sha256": _TEXT,
    "key": _TEXT,
    "created_at": _INSTANT,
    "expires_at": _INSTANT,
}

_BATCH = {
    "id": _TEXT,
    "tenant": _TEXT,
    "status": _Kind(str, BatchStatus),
    "endpoint": _TEXT,
    "input_file_id": _TEXT,
    "completion_window": _TEXT,
    "deadline": _INSTANT,
    "created_at": _INSTANT,
    "metadata": _json(dict[str, str]),
    "output_expires_after_s": _NUMBER,
    "priority": _NUMBER,
    "paused": _FLAG,
    "model": _TEXT,
    "ending": _Kind(str, Ending),
    "fence_at": _INSTANT,
    "open_shards": _NUMBER,
    "errors": _json(tuple[BatchError, ...]),
    "output_file_id": _TEXT,
    "error_file_id": _TEXT,
    "traceparent": _TEXT,
    "options": _json(dict[str, Any]),
    "in_progress_at": _INSTANT,
    "finalizing_at": _INSTANT,
    "completed_at": _INSTANT,
    "failed_at": _INSTANT,
    "expired_at": _INSTANT,
    "cancelling_at": _INSTANT,
    "cancelled_at": _INSTANT,
}


_API_KEY = {
    "id": _TEXT,
    "tenant": _TEXT,
    "name": _TEXT,
    "digest": _TEXT,
    "created_at": _INSTANT,
    "expires_at": _INSTANT,
    "revoked_at": _INSTANT,
}


_UPLOAD = {
    "id": _TEXT,
    "tenant": _TEXT,
    "status": _Kind(str, UploadStatus),
    "purpose": _TEXT,
    "filename": _TEXT,
    "size": _NUMBER,
    "created_at": _INSTANT,
    "expires_at": _INSTANT,
    "file_lifetime_s": _NUMBER,
    "file_id": _TEXT,
    "receipt": _TEXT,
}


_CLAIM = {
    "id": _TEXT,
    "seed": _TEXT,
    "holder": _TEXT,
    "held_until": _INSTANT,
    "created_at": _INSTANT,
    "fingerprint": _TEXT,
    "answer": _json(Answered),
}


def _write(value: object, fields: Mapping[str, _Kind]) -> dict[str, str]:
    known = {name: getattr(value, name) for name in fields}
    return {name: fields[name].write(known[name]) for name in known if known[name] is not None}


def _read(row: Row, fields: Mapping[str, _Kind]) -> dict[str, Any]:
    return {
        name: None if (text := row.get(name)) is None else kind.read(text)
        for name, kind in fields.items()
    }


def row(flat: Sequence[str]) -> Row:
    """What HGETALL answers inside a script: field, value, field, value, ..."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


# Files ------------------------------------------------------------------------------------------


def from_file(file: File) -> Row:
    return _write(file, _FILE)


def to_file(row: Row) -> File:
    return File(**_read(row, _FILE))


def from_upload(upload: Upload) -> Row:
    """``parts`` and ``stored`` count what was added, and its bytes."""
    return {**_write(upload, _UPLOAD), "parts": "0", "stored": "0"}


def to_upload(row: Row) -> Upload:
    return Upload(**_read(row, _UPLOAD))


# Batches ----------------------------------------------------------------------------------------


def from_batch(batch: Batch) -> Row:
    """``status_since`` is for the index by status; the scripts change it with the status."""
    since = batch.created_at
    if batch.status is not BatchStatus.VALIDATING:
        since = getattr(batch, f"{batch.status}_at")
    return {
        **_write(batch, _BATCH),
        **from_results(batch.counts, batch.usage),
        "status_since": micros(since),
    }


def to_batch(row: Row) -> Batch:
    counts = Counts(
        total=int(row["total"]), completed=int(row["completed"]), failed=int(row["failed"])
    )
    usage = Usage(**{name: int(row[name]) for name in _USAGE}) if _USAGE[0] in row else None
    return Batch(**_read(row, _BATCH), counts=counts, usage=usage)


def from_results(counts: Counts, usage: Usage | None) -> Row:
    return {
        "total": str(counts.total),
        "completed": str(counts.completed),
        "failed": str(counts.failed),
        **({} if usage is None else _from_usage(usage)),
    }


def _from_usage(usage: Usage) -> Row:
    return {name: str(getattr(usage, name)) for name in _USAGE}


# Shards -----------------------------------------------------------------------------------------


def from_planned(shard: Shard) -> Row:
    """The fields of a new shard inside its batch's hash. Ready or not is not among them."""
    plan = (shard.model, shard.key, shard.lines, shard.cost)
    fields = {"plan": _PLAN.write(plan)}
    if shard.state == ShardState.CLOSED:
        fields |= {"parts": _PARTS.write(shard.parts), "tally": _TALLY.write(shard.tally)}
    return {f"{shard.index}.{name}": text for name, text in fields.items()}


def to_shard(batch: BatchId, fields: Sequence[str | None]) -> Shard:
    """A shard from what ``shard_row`` in the prelude returns."""
    index, state, plan, epoch, token, holder, leased_at, parts, tally = fields
    model, key, lines, cost = _PLAN.read(plan or "")
    return Shard(
        batch=batch,
        index=int(index or ""),
        model=model,
        key=key,
        lines=lines,
        cost=cost,
        state=ShardState(state or ""),
        epoch=int(epoch or 0),
        token=token or "",
        holder=None if holder is None else ActivationId(holder),
        leased_at=None if leased_at is None else instant(leased_at),
        parts=() if parts is None else _PARTS.read(parts),
        tally=Tally() if tally is None else _TALLY.read(tally),
    )


def to_lease(granted: Sequence[Sequence[str]]) -> Lease:
    """A lease from what ``grant`` in the prelude returns."""
    batch = to_batch(row(granted[1]))
    return Lease(
        shard=to_shard(batch.id, granted[0]),
        tenant=batch.tenant,
        endpoint=batch.endpoint,
        deadline=batch.deadline,
        priority=batch.priority,
        options=batch.options,
        traceparent=batch.traceparent,
    )


def plan_model_and_cost(plan: str) -> tuple[str, int]:
    model, _, _, cost = _PLAN.read(plan)
    return model, cost


def from_lease(lease: LeaseRef) -> Row:
    batch, index = split_shard_id(lease.shard)
    return {"batch": batch, "index": str(index), "epoch": str(lease.epoch), "token": lease.token}


def from_parts(parts: Sequence[Part]) -> str:
    return _PARTS.write(parts)


def from_tally(tally: Tally) -> str:
    return _TALLY.write(tally)


def amounts(tally: Tally) -> Row:
    """What a tally adds to its batch's fields: nothing, and no usage, if no line was answered."""
    if not tally.completed and not tally.failed:
        return {}
    return {
        "completed": str(tally.completed),
        "failed": str(tally.failed),
        **_from_usage(tally.usage),
    }


# API keys ---------------------------------------------------------------------------------------


def from_api_key(key: ApiKey) -> Row:
    return _write(key, _API_KEY)


def to_api_key(row: Row) -> ApiKey:
    return ApiKey(**_read(row, _API_KEY))


# Claims -----------------------------------------------------------------------------------------


def from_claim(claim: Claim) -> Row:
    return _write(claim, _CLAIM)


def to_claim(row: Row) -> Claim:
    return Claim(**_read(row, _CLAIM))


def from_answer(answer: Answered) -> str:
    return _CLAIM["answer"].write(answer)


# Events -----------------------------------------------------------------------------------------


def from_events(events: Iterable[Event]) -> Sequence[Row]:
    return [{"id": event.id, "body": _EVENT.write(event)} for event in events]


def to_event(body: str) -> Event:
    event: Event = _EVENT.read(body)
    return event
