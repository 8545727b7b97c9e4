"""When a batch may be changed: one table that both kinds of metadata stores apply.

The SQL stores ask ``allows`` about the locked row; the Redis scripts get the table as Lua.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from batch_gateway.core.model import (
    ASSEMBLED,
    OPEN,
    SOURCES,
    TERMINAL,
    Batch,
    BatchStatus,
    EndReason,
)


class BatchChange(StrEnum):
    """A change of a batch that depends on its state."""

    PLAN = "plan"
    LEASE = "lease"  # of one of its shards
    EDIT = "edit"  # pause, resume, priority, completion window
    CANCEL = "cancel"
    EXPIRE = "expire"  # its deadline has passed, too
    FAIL = "fail"
    FINALIZE = "finalize"
    ASSEMBLE = "assemble"
    COMPLETE = "complete"  # by the executor of its only shard
    FINISH_COMPLETED = "finish_completed"  # after assembly, as the next two
    FINISH_EXPIRED = "finish_expired"
    FINISH_CANCELLED = "finish_cancelled"
    DELETE = "delete"  # its row, or what it has left in the file store


@dataclass(frozen=True, slots=True, kw_only=True)
class Precondition:
    """What a batch must be for a change. None: any value will do."""

    statuses: frozenset[BatchStatus]
    endings: frozenset[EndReason | None] | None = None
    open_shards: int | None = None
    paused: bool | None = None

    def allows(self, batch: Batch) -> bool:
        return (
            batch.status in self.statuses
            and (self.endings is None or batch.ending in self.endings)
            and (self.open_shards is None or batch.open_shards == self.open_shards)
            and (self.paused is None or batch.paused is self.paused)
        )


_NOT_ENDING: frozenset[EndReason | None] = frozenset({None})
_RUNNING = frozenset({BatchStatus.IN_PROGRESS})


def _finish(to: BatchStatus, ending: EndReason | None) -> Precondition:
    return Precondition(statuses=SOURCES[to], endings=frozenset({ending}), open_shards=0)


PRECONDITIONS: Mapping[BatchChange, Precondition] = {
    BatchChange.PLAN: Precondition(statuses=SOURCES[BatchStatus.IN_PROGRESS], endings=_NOT_ENDING),
    BatchChange.LEASE: Precondition(statuses=_RUNNING, endings=_NOT_ENDING, paused=False),
    BatchChange.EDIT: Precondition(statuses=frozenset(OPEN), endings=_NOT_ENDING),
    BatchChange.CANCEL: Precondition(statuses=SOURCES[BatchStatus.CANCELLING]),
    BatchChange.EXPIRE: Precondition(statuses=SOURCES[BatchStatus.FINALIZING], endings=_NOT_ENDING),
    BatchChange.FAIL: Precondition(statuses=SOURCES[BatchStatus.FAILED]),
    BatchChange.FINALIZE: Precondition(statuses=_RUNNING, open_shards=0),
    BatchChange.ASSEMBLE: Precondition(statuses=ASSEMBLED, open_shards=0),
    BatchChange.COMPLETE: Precondition(statuses=_RUNNING, endings=_NOT_ENDING, open_shards=1),
    BatchChange.FINISH_COMPLETED: _finish(BatchStatus.COMPLETED, None),
    BatchChange.FINISH_EXPIRED: _finish(BatchStatus.EXPIRED, EndReason.EXPIRED),
    BatchChange.FINISH_CANCELLED: _finish(BatchStatus.CANCELLED, EndReason.CANCELLED),
    BatchChange.DELETE: Precondition(statuses=TERMINAL),
}


def allows(batch: Batch, change: BatchChange) -> bool:
    return PRECONDITIONS[change].allows(batch)


def change_to(to: BatchStatus) -> BatchChange:
    """The change that ends an assembled batch in ``to``."""
    return BatchChange(f"finish_{to}")
