"""Changes of a batch as pure functions from the locked row to the row to write.

Callers have asked ``core.transitions`` whether the present state allows them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batch_gateway.core.ids import FileId
from batch_gateway.core.model import (
    TERMINAL,
    Batch,
    BatchStatus,
    LineCounts,
    ResultTally,
    TokenUsage,
)
from batch_gateway.core.transitions import BatchChange, allows


def moved(batch: Batch, to: BatchStatus, now: datetime) -> Batch:
    """``batch`` in ``to``, entered at ``now``; one that has ended keeps no secret."""
    sealed = None if to in TERMINAL else batch.sealed
    return batch.evolve(status=to, sealed=sealed, **{f"{to}_at": now})


def counted(batch: Batch, tally: ResultTally) -> Batch:
    """With ``tally`` added; usage stays None as long as no line was answered."""
    if not tally.lines:
        return batch
    return batch.evolve(
        counts=LineCounts(
            total=batch.counts.total,
            completed=batch.counts.completed + tally.completed,
            failed=batch.counts.failed + tally.failed,
        ),
        usage=(batch.usage or TokenUsage()) + tally.usage,
    )


def shards_closed(batch: Batch, count: int, now: datetime) -> Batch:
    """With ``count`` open shards fewer; a running batch without any goes to finalizing."""
    fewer = batch.evolve(open_shards=batch.open_shards - count)
    if fewer.open_shards or fewer.status is not BatchStatus.IN_PROGRESS:
        return fewer
    return moved(fewer, BatchStatus.FINALIZING, now)


def completed(
    batch: Batch,
    tally: ResultTally,
    deadline: datetime,
    output: FileId | None,
    error: FileId | None,
    now: datetime,
    options: Mapping[str, Any] | None,
) -> Batch | None:
    """``batch`` completed by its only shard, which has ``tally``; see ``ShardRows.complete``."""
    if not allows(batch, BatchChange.COMPLETE) or batch.deadline != deadline:
        return None
    if tally.lines != batch.counts.total:
        return None
    finalizing = moved(batch, BatchStatus.FINALIZING, now)
    return moved(finalizing, BatchStatus.COMPLETED, now).evolve(
        open_shards=0,
        counts=LineCounts(total=tally.lines, completed=tally.completed, failed=tally.failed),
        usage=tally.usage,
        output_file_id=output,
        error_file_id=error,
        options=batch.options if options is None else options,
    )
