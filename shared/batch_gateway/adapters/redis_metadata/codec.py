"""Converts values to stored rows, and back."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from batch_gateway.adapters.checked import checked_batch
from batch_gateway.adapters.corrupt_rows import decoding
from batch_gateway.adapters.redis_metadata.fields import (
    FLAG,
    INSTANT,
    NUMBER,
    TEXT,
    FieldCodec,
    Row,
    decoded,
    instant,
    json_text,
    json_type,
    micros,
    read,
    row,
    write,
)
from batch_gateway.core.api_keys import ApiKey
from batch_gateway.core.events import Event
from batch_gateway.core.idempotency import IdempotencyClaim, StoredResponse
from batch_gateway.core.ids import ActivationId, BatchId, split_shard_id
from batch_gateway.core.model import (
    Batch,
    BatchError,
    BatchStatus,
    EndReason,
    File,
    Lease,
    LeaseRef,
    LineCounts,
    ResultPart,
    ResultTally,
    Shard,
    ShardState,
    TokenUsage,
)
from batch_gateway.core.scopes import DEFAULT_SCOPES, ordered
from batch_gateway.core.uploads import Upload, UploadStatus
from batch_gateway.core.usage import AMOUNTS, BatchReport

_USAGE = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")

_PARTS = json_type(tuple[ResultPart, ...])
_TALLY = json_type(ResultTally)
_EVENT = json_type(Event)
_PLAN = json_type(tuple[str, str, int, int])  # model, key, lines, cost

_FILE = {
    "id": TEXT,
    "tenant": TEXT,
    "purpose": TEXT,
    "filename": TEXT,
    "size": NUMBER,
    "lines": NUMBER,
    "sha256": TEXT,
    "key": TEXT,
    "created_at": INSTANT,
    "expires_at": INSTANT,
}

_BATCH = {
    "id": TEXT,
    "tenant": TEXT,
    "status": FieldCodec(str, BatchStatus),
    "endpoint": TEXT,
    "input_file_id": TEXT,
    "completion_window": TEXT,
    "deadline": INSTANT,
    "created_at": INSTANT,
    "metadata": json_type(dict[str, str]),
    "output_expires_after_s": NUMBER,
    "priority": NUMBER,
    "paused": FLAG,
    "model": TEXT,
    "ending": FieldCodec(str, EndReason),
    "fence_at": INSTANT,
    "open_shards": NUMBER,
    "errors": json_type(tuple[BatchError, ...]),
    "output_file_id": TEXT,
    "error_file_id": TEXT,
    "traceparent": TEXT,
    "api_key": TEXT,
    "sealed": TEXT,
    "options": json_type(dict[str, Any]),
    "in_progress_at": INSTANT,
    "finalizing_at": INSTANT,
    "completed_at": INSTANT,
    "failed_at": INSTANT,
    "expired_at": INSTANT,
    "cancelling_at": INSTANT,
    "cancelled_at": INSTANT,
}


_API_KEY = {
    "id": TEXT,
    "tenant": TEXT,
    "name": TEXT,
    "digest": TEXT,
    "created_at": INSTANT,
    "expires_at": INSTANT,
    "revoked_at": INSTANT,
    "scopes": FieldCodec(lambda scopes: json_text(ordered(scopes)), json_type(list[str]).read),
    "last_used_at": INSTANT,
}


_UPLOAD = {
    "id": TEXT,
    "tenant": TEXT,
    "status": FieldCodec(str, UploadStatus),
    "purpose": TEXT,
    "filename": TEXT,
    "size": NUMBER,
    "created_at": INSTANT,
    "expires_at": INSTANT,
    "file_lifetime_s": NUMBER,
    "file_id": TEXT,
    "receipt": TEXT,
}


_CLAIM = {
    "id": TEXT,
    "seed": TEXT,
    "holder": TEXT,
    "held_until": INSTANT,
    "created_at": INSTANT,
    "fingerprint": TEXT,
    "answer": json_type(StoredResponse),
}


# Files ------------------------------------------------------------------------------------------


def from_file(file: File) -> Row:
    return write(file, _FILE)


def to_file(row: Row) -> File:
    """Raises CorruptRow."""
    return decoded("file", File, row, _FILE)


def from_upload(upload: Upload) -> Row:
    """``parts`` and ``stored`` count what was added, and its bytes."""
    return {**write(upload, _UPLOAD), "parts": "0", "stored": "0"}


def to_upload(row: Row) -> Upload:
    """Raises CorruptRow."""
    return decoded("upload", Upload, row, _UPLOAD)


# Batches ----------------------------------------------------------------------------------------


def from_batch(batch: Batch) -> Row:
    """``status_since`` is for the index by status; the scripts change it with the status."""
    return {
        **write(batch, _BATCH),
        **from_results(batch.counts, batch.usage),
        "status_since": micros(batch.status_since),
    }


def to_batch(row: Row) -> Batch:
    """Raises CorruptRow."""
    with decoding("batch", row.get("id", "without id")):
        counts = LineCounts(
            total=int(row["total"]), completed=int(row["completed"]), failed=int(row["failed"])
        )
        usage = (
            TokenUsage(**{name: int(row[name]) for name in _USAGE}) if _USAGE[0] in row else None
        )
        return checked_batch({**read(row, _BATCH), "counts": counts, "usage": usage})


def from_results(counts: LineCounts, usage: TokenUsage | None) -> Row:
    return {
        "total": str(counts.total),
        "completed": str(counts.completed),
        "failed": str(counts.failed),
        **({} if usage is None else _from_usage(usage)),
    }


def _from_usage(usage: TokenUsage) -> Row:
    return {name: str(getattr(usage, name)) for name in _USAGE}


# Shards -----------------------------------------------------------------------------------------


def from_planned(shard: Shard) -> Row:
    """The fields of a new shard inside its batch's hash. Ready or not is not among them."""
    plan = (shard.model, shard.key, shard.lines, shard.cost)
    fields = {"plan": _PLAN.write(plan)}
    if shard.state == ShardState.CLOSED:
        tally = replace(shard.tally, statistics="")
        fields |= {"parts": _PARTS.write(shard.parts), "tally": _TALLY.write(tally)}
        fields |= {"statistics": shard.tally.statistics} if shard.tally.statistics else {}
    return {f"{shard.index}.{name}": text for name, text in fields.items()}


def to_shard(batch: BatchId, fields: Sequence[str | None]) -> Shard:
    """A shard from what ``shard_row`` in the prelude returns. Raises CorruptRow."""
    with decoding("shard", f"{batch}.{fields[0]}"):
        return _to_shard(batch, fields)


def _to_shard(batch: BatchId, fields: Sequence[str | None]) -> Shard:
    index, state, plan, epoch, token, holder, leased_at, parts, tally, statistics = fields
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
        tally=replace(
            ResultTally() if tally is None else _TALLY.read(tally), statistics=statistics or ""
        ),
    )


def salvaged(fields: Sequence[str | None]) -> dict[str, Any]:
    """What can be read of a shard's row that cannot be decoded as a whole."""
    _, _, plan, epoch, _, _, _, _, tally, _ = fields
    known: dict[str, Any] = {}
    with suppress(ValueError):
        known["epoch"] = int(epoch or 0)
    with suppress(msgspec.MsgspecError, UnicodeError):
        known["tally"] = ResultTally() if tally is None else _TALLY.read(tally)
    with suppress(msgspec.MsgspecError, UnicodeError):
        values = _PLAN.read(plan or "")
        known |= dict(zip(("model", "key", "lines", "cost"), values, strict=True))
    return known


def from_mended(shard: Shard) -> Row:
    """All fields of a closed shard that replaces one that cannot be decoded."""
    return {
        "plan": _PLAN.write((shard.model, shard.key, shard.lines, shard.cost)),
        "epoch": str(shard.epoch),
        "token": shard.token,
        "parts": _PARTS.write(shard.parts),
        "tally": _TALLY.write(shard.tally),
    }


def to_lease(granted: Sequence[Any]) -> Lease:
    """A lease from what ``grant`` in the prelude returns."""
    batch = to_batch(row(granted[1]))
    return Lease.granted(to_shard(batch.id, granted[0]), batch, instant(granted[2]))


def plan_model_and_cost(plan: str) -> tuple[str, int]:
    model, _, _, cost = _PLAN.read(plan)
    return model, cost


def from_lease(lease: LeaseRef) -> Row:
    batch, index = split_shard_id(lease.shard)
    return {"batch": batch, "index": str(index), "epoch": str(lease.epoch), "token": lease.token}


def from_parts(parts: Sequence[ResultPart]) -> str:
    return _PARTS.write(parts)


def amounts(tally: ResultTally) -> Row:
    """What a tally adds to its batch's fields: nothing, and no usage, if no line was answered."""
    if not tally.lines:
        return {}
    return {
        "completed": str(tally.completed),
        "failed": str(tally.failed),
        **_from_usage(tally.usage),
    }


def from_tally(tally: ResultTally) -> Row:
    """What a tally adds to its batch's fields, and its statistics."""
    added = amounts(tally)
    return {**added, "statistics": tally.statistics} if added and tally.statistics else added


def from_report(report: BatchReport | None) -> Mapping[str, Any] | None:
    """What ``keep_report`` in the prelude takes."""
    return (
        None
        if report is None
        else {
            "summary": report.summary,
            "usage": [
                {
                    "tenant": record.tenant,
                    "day": record.day.isoformat(),
                    "name": json_text([record.api_key, record.model]),
                    "amounts": {
                        name: str(amount) for name in AMOUNTS if (amount := getattr(record, name))
                    },
                }
                for record in report.usage
            ],
        }
    )


# API keys ---------------------------------------------------------------------------------------


def from_api_key(key: ApiKey) -> Row:
    return write(key, _API_KEY)


def to_api_key(row: Row) -> ApiKey:
    """Raises CorruptRow."""
    made_before_scopes = {} if "scopes" in row else {"scopes": json_text(ordered(DEFAULT_SCOPES))}
    return decoded("API key", ApiKey, {**row, **made_before_scopes}, _API_KEY)


# Claims -----------------------------------------------------------------------------------------


def from_claim(claim: IdempotencyClaim) -> Row:
    return write(claim, _CLAIM)


def to_claim(row: Row) -> IdempotencyClaim:
    """Raises CorruptRow."""
    return decoded("claim", IdempotencyClaim, row, _CLAIM)


def from_answer(answer: StoredResponse) -> str:
    return _CLAIM["answer"].write(answer)


# Events -----------------------------------------------------------------------------------------


def from_events(events: Iterable[Event]) -> Sequence[Row]:
    return [{"id": event.id, "body": _EVENT.write(event)} for event in events]


def to_event(id_: str, body: str | None) -> Event:
    """Raises CorruptRow."""
    with decoding("event", id_):
        event: Event = _EVENT.read(body or "")
        return event
