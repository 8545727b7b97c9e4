"""Changes of a batch as pure functions from the locked row to the row to write.

None means that the present state does not allow it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batch_gateway.core.ids import FileId
from batch_gateway.core.model import SOURCES, TERMINAL, Batch, BatchStatus, Counts, Tally, Usage


def moved(batch: Batch, to: BatchStatus, now: datetime) -> Batch | None:
    """``batch`` in ``to``, entered at ``now``; one that has ended keeps no secret."""
    if batch.status not in SOURCES[to]:
        return None
    sealed = None if to in TERMINAL else batch.sealed
    return batch.evolve(status=to, sealed=sealed, **{f"{to}_at": now})


def counted(batch: Batch, tally: Tally) -> Batch:
    """With ``tally`` added; usage stays None as long as no line was answered."""
    if not tally.lines:
        return batch
    return batch.evolve(
        counts=Counts(
            total=batch.counts.total,
            completed=batch.counts.completed + tally.completed,
            failed=batch.counts.failed + tally.failed,
        ),
        usage=(batch.usage or Usage()) + tally.usage,
    )


def shards_closed(batch: Batch, count: int, now: datetime) -> Batch:
    """With ``count`` open shards fewer; a running batch without any goes to finalizing."""
    fewer = batch.evolve(open_shards=batch.open_shards - count)
    if fewer.open_shards or fewer.status is not BatchStatus.IN_PROGRESS:
        return fewer
    return moved(fewer, BatchStatus.FINALIZING, now) or fewer


def completed(
    batch: Batch,
    tally: Tally,
    deadline: datetime,
    output: FileId | None,
    error: FileId | None,
    now: datetime,
    options: Mapping[str, Any] | None,
) -> Batch | None:
    """``batch`` completed by its only shard, which has ``tally``; see ``ShardRows.complete``."""
    if batch.ending is not None or batch.open_shards != 1 or batch.deadline != deadline:
        return None
    finalizing = moved(batch, BatchStatus.FINALIZING, now)
    if batch.status is not BatchStatus.IN_PROGRESS or finalizing is None:
        return None
    ended = moved(finalizing, BatchStatus.COMPLETED, now)
    if ended is None or tally.lines != batch.counts.total:
        return None
    return ended.evolve(
        open_shards=0,
        counts=Counts(total=tally.lines, completed=tally.completed, failed=tally.failed),
        usage=tally.usage,
        output_file_id=output,
        error_file_id=error,
        options=batch.options if options is None else options,
    )
