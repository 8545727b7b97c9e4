"""New batches and plans that wait to be written, many of them in one statement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from batch_gateway.adapters.sql.transitions import counted, moved, shards_closed
from batch_gateway.core.batch_request import SourceEvent
from batch_gateway.core.events import Event
from batch_gateway.core.ids import BatchId
from batch_gateway.core.model import (
    Batch,
    BatchStatus,
    LineCounts,
    ResultTally,
    Shard,
    ShardState,
)
from batch_gateway.core.quotas import Quotas


@dataclass(frozen=True, slots=True)
class PendingBatch:
    batch: Batch
    events: Sequence[Event]
    cause: SourceEvent | None
    quotas: Quotas

    @property
    def cause_columns(self) -> Mapping[str, Any]:
        """The row that keeps another batch from being made for the same cause."""
        assert self.cause is not None
        created_at = self.batch.created_at
        return {"id": self.cause.key, "batch": self.batch.id, "created_at": created_at}


@dataclass(frozen=True, slots=True)
class PendingPlan:
    batch: BatchId
    shards: Sequence[Shard]
    total: int
    model: str | None
    now: datetime
    events: Sequence[Event]
    options: Mapping[str, Any] | None
    quotas: Quotas

    def applied_to(self, before: Batch) -> Batch:
        """The batch as this plan makes it."""
        closed = [shard for shard in self.shards if shard.state is ShardState.CLOSED]
        begun = moved(before, BatchStatus.IN_PROGRESS, self.now).evolve(
            model=self.model,
            open_shards=len(self.shards),
            counts=LineCounts(total=self.total),
            options=before.options if self.options is None else self.options,
        )
        tally = sum((shard.tally for shard in closed), ResultTally())
        return shards_closed(counted(begun, tally), len(closed), self.now)
