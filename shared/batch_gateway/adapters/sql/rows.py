"""Converts values to rows, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from batch_gateway.adapters.checked import checked, checked_batch, checked_shard
from batch_gateway.adapters.corrupt_rows import decoding
from batch_gateway.adapters.sql.schema import batches, shards
from batch_gateway.core.events import Event
from batch_gateway.core.ids import ShardId, shard_id, split_shard_id
from batch_gateway.core.model import (
    Batch,
    File,
    ResultPart,
    ResultTally,
    Shard,
    TokenUsage,
)

Row = sa.Row[Any]
Columns = dict[str, Any]

_SAME_IN_BATCH = [
    "id",
    "tenant",
    "status",
    "endpoint",
    "input_file_id",
    "completion_window",
    "deadline",
    "created_at",
    "output_expires_after_s",
    "priority",
    "paused",
    "model",
    "ending",
    "fence_at",
    "open_shards",
    "output_file_id",
    "error_file_id",
    "traceparent",
    "api_key",
    "sealed",
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
]
_SAME_IN_SHARD = ["model", "key", "lines", "cost", "state", "epoch", "token", "holder", "leased_at"]
_BATCH_COLUMNS = [str(column.name) for column in batches.columns]
_USAGE = ["input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"]


def columns_of(row: Row) -> Columns:
    """The row by plain names: SQLAlchemy's own are a kind of text that decoders refuse."""
    return {str(name): value for name, value in row._mapping.items()}


def file_columns(file: File) -> Columns:
    return asdict(file)


def to_file(row: Row) -> File:
    """Raises CorruptRow."""
    return checked("file", File, columns_of(row))


def batch_columns(batch: Batch) -> Columns:
    usage = [None] * len(_USAGE) if batch.usage is None else _usage_values(batch.usage)
    return {
        **{name: getattr(batch, name) for name in _SAME_IN_BATCH},
        "status_since": batch.status_since,
        "unswept": batch.terminal,  # until ``swept``: a terminal row is never written again
        "metadata": None if batch.metadata is None else dict(batch.metadata),
        "total": batch.counts.total,
        "completed": batch.counts.completed,
        "failed": batch.counts.failed,
        **dict(zip(_USAGE, usage, strict=True)),
        "errors": [asdict(error) for error in batch.errors],
        "options": dict(batch.options),
    }


def to_batch(row: Row) -> Batch:
    """Raises CorruptRow."""
    columns = dict(zip(_BATCH_COLUMNS, row, strict=True))  # faster than looking up each by name
    with decoding("batch", columns["id"]):
        columns["counts"] = {name: columns[name] for name in ("total", "completed", "failed")}
        columns["usage"] = None if columns["input_tokens"] is None else _to_usage(columns)
        return checked_batch(columns)


def shard_columns(shard: Shard) -> Columns:
    return {
        "batch_id": shard.batch,
        "position": shard.index,
        **{name: getattr(shard, name) for name in _SAME_IN_SHARD},
        **result_columns(shard.parts, shard.tally),
    }


def result_columns(parts: Sequence[ResultPart], tally: ResultTally) -> Columns:
    """What a shard has to show: its parts and what they add up to."""
    return {"parts": part_list(parts), **tally_columns(tally)}


def tally_columns(tally: ResultTally) -> Columns:
    return {
        "completed": tally.completed,
        "failed": tally.failed,
        **dict(zip(_USAGE, _usage_values(tally.usage), strict=True)),
        "statistics": tally.statistics,
    }


def shard_is(shard: ShardId) -> sa.ColumnElement[bool]:
    batch, index = split_shard_id(shard)
    return sa.and_(shards.c.batch_id == batch, shards.c.position == index)


def part_list(parts: Sequence[ResultPart]) -> list[Columns]:
    return [asdict(part) for part in parts]


def to_shard(row: Row) -> Shard:
    """Raises CorruptRow."""
    mapping = row._mapping
    with decoding("shard", shard_id(row.batch_id, row.position)):
        return checked_shard(
            {
                **{name: mapping[name] for name in _SAME_IN_SHARD},
                "batch": row.batch_id,
                "index": row.position,
                "parts": row.parts,
                "tally": tally_of(row),
            }
        )


def tally_of(row: Row) -> Columns:
    return {
        "completed": row.completed,
        "failed": row.failed,
        "usage": _to_usage(row._mapping),
        "statistics": row.statistics,
    }


def event_columns(event: Event) -> Columns:
    return {
        "id": event.id,
        "type": event.type,
        "subject": event.subject,
        "data": dict(event.data),
        "time": event.time,
        "traceparent": event.traceparent,
    }


def to_event(row: Row) -> Event:
    """Raises CorruptRow."""
    return checked("event", Event, columns_of(row))


def changed(before: Columns, after: Columns) -> Mapping[str, Any]:
    return {name: value for name, value in after.items() if value != before[name]}


def _usage_values(usage: TokenUsage) -> list[int]:
    return [getattr(usage, name) for name in _USAGE]


def _to_usage(mapping: sa.RowMapping | Columns) -> Columns:
    return {name: mapping[name] for name in _USAGE}
