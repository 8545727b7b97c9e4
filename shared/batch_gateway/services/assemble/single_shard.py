"""Completes a batch of one shard in its executor, without the assembler.

The results are in the executor's memory, all of them, and nothing of them is stored yet. So its
files are written from there, and one transaction closes the shard and completes the batch. That
saves the part that the assembler would read again, an event, a function call and three
transactions. A crash before the transaction costs what a crash costs anyway: the lines since the
last flush, of which there was none. Files that no transaction names are swept as orphans.

What the batch's users have read cannot change: a reader of a running batch is given parts only, and
such a batch has none. A batch of which a part was stored is left to the assembler.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from batch_gateway.core import lifecycle
from batch_gateway.core.batch_summary import BatchSummary
from batch_gateway.core.ids import FileId
from batch_gateway.core.lines import PartLine, decode_part_line
from batch_gateway.core.model import Batch, BatchStatus, Lease, LineCounts, ResultTally, Shard
from batch_gateway.core.usage import report_of
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.assemble.ended_batches import EndedBatchWorker
from batch_gateway.services.assemble.merge import OutputFiles
from batch_gateway.services.assemble.result_files import (
    ResultFiles,
    assembly_span,
    discard,
    log_ended,
    new_names,
    result_files,
)
from batch_gateway.services.task_group import task_group


class SingleShardCompletion:
    """Completes batches of one shard."""

    def __init__(
        self,
        *,
        metadata: MetadataStore,
        files: FileStore,
        clock: Clock,
        default_expiry: timedelta | None,
        most_bytes: int,
        ended: EndedBatchWorker,
    ) -> None:
        """``default_expiry`` of result files; None: they are kept. ``most_bytes``: maximum
        size of the results of a batch that is completed here; 0: none is. ``ended`` processes the
        completed ones."""
        self._metadata = metadata
        self._files = files
        self._clock = clock
        self._default_expiry = default_expiry
        self._most_bytes = most_bytes
        self._ended = ended

    def can_complete(self, lease: Lease, results: Sequence[bytes]) -> bool:
        """Whether ``results``, encoded part lines, are small and the whole batch's."""
        batch = lease.batch
        return (
            batch is not None
            and batch.counts.total == lease.shard.lines
            and batch.open_shards == 1
            and sum(map(len, results)) <= self._most_bytes
        )

    async def complete(
        self, lease: Lease, deadline: datetime, results: Sequence[bytes]
    ) -> Batch | None:
        """Complete the batch with ``results``, for which ``can_complete``; None: it cannot be done.

        Then nothing has changed, and the shard may be finished as any other. ``deadline`` is the
        batch's as far as is known. Raises Temporary: the batch may be completed nevertheless, and a
        second call then returns None.
        """
        assert lease.batch is not None, "can_complete"
        with assembly_span(lease.batch):
            return await self._complete(lease, lease.batch, deadline, results)

    async def _complete(
        self, lease: Lease, batch: Batch, deadline: datetime, results: Sequence[bytes]
    ) -> Batch | None:
        names = new_names()
        stored, tally = await self._store(lease, batch, names, results)
        now = self._clock.now()
        ended = stored.ended(
            batch,
            BatchStatus.COMPLETED,
            now,
            deadline=deadline,
            open_shards=0,
            finalizing_at=now,
        )
        completed = await self._metadata.shards.complete(
            lease.ref,
            tally,
            deadline=deadline,
            files=stored.files,
            output=ended.output_file_id,
            error=ended.error_file_id,
            now=now,
            events=[lifecycle.terminal_event(ended)],
            options=stored.options(batch),
            report=report_of(ended, now, stored.summary),
        )
        if completed is None:
            await discard(self._files, names)
            return None
        log_ended(completed)
        self._ended.add(completed, lease)
        return completed

    async def _store(
        self,
        lease: Lease,
        batch: Batch,
        names: tuple[FileId, FileId],
        results: Sequence[bytes],
    ) -> tuple[ResultFiles, ResultTally]:
        """Write the files; what they contain, and what the shard's results add up to."""
        merged, tally = OutputFiles(), ResultTally()
        for line in in_input_order(results):
            merged.add(line)
            tally += line.tally
        contents = merged.output.take(), merged.error.take()
        files = result_files(
            batch,
            merged,
            names,
            counts=LineCounts(total=tally.lines, completed=tally.completed, failed=tally.failed),
            summary=_summary(lease.shard, tally, merged),
            now=self._clock.now(),
            default_expiry=self._default_expiry,
        )
        try:
            async with task_group() as group:
                for row, content in zip((files.output, files.error), contents, strict=True):
                    if row is not None:
                        group.create_task(self._files.put(row.key, content))
        except BaseException:
            await discard(self._files, names)
            raise
        return files, tally


def _summary(shard: Shard, tally: ResultTally, merged: OutputFiles) -> BatchSummary:
    """The summary of a batch whose only shard is ``shard``."""
    summary = BatchSummary()
    summary.add_sums(replace(shard, tally=tally))
    summary.calls = merged.statistics
    return summary


def in_input_order(results: Iterable[bytes]) -> Iterable[PartLine]:
    """Encoded part lines by line number; of several for one line the first."""
    lines: dict[int, PartLine] = {}
    for raw in results:
        line = decode_part_line(raw)
        lines.setdefault(line.line, line)
    return [line for _, line in sorted(lines.items())]
