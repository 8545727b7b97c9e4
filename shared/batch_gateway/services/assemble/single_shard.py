"""Completes a batch of one shard where its last line is answered: in the shard's executor.

The results are in the executor's memory, all of them, and nothing of them is stored yet. So its
files are written from there, and one transaction closes the shard and completes the batch. That
saves the part that the assembler would read again, an event, a function call and three
transactions. A crash before the transaction costs what a crash costs anyway: the lines since the
last flush, of which there was none. Files that no transaction names are swept as orphans.

What the batch's users have read cannot change: a reader of a running batch is given parts only, and
such a batch has none. A batch of which a part was stored is left to the assembler.

``EndedBatches`` does what is to be done about a completed batch and need not be waited for.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from batch_gateway.core import lifecycle
from batch_gateway.core.batch_summary import BatchSummary
from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import FileId, file_id
from batch_gateway.core.layout import blobs_of, work_prefix
from batch_gateway.core.lines import PartLine, decode_part_line
from batch_gateway.core.model import Batch, BatchStatus, Counts, File, Lease, Shard, Tally
from batch_gateway.core.usage import report_of
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.scratch import ScratchStore
from batch_gateway.services.assemble.merge import OutputFiles
from batch_gateway.services.assemble.result_files import (
    assembly_span,
    result_file,
    with_saved_tokens,
)
from batch_gateway.services.event_publisher import EventPublisher, log_errors
from batch_gateway.services.task_group import task_group
from batch_gateway.services.webhooks.outbox import WebhookOutbox

logger = logging.getLogger(__name__)

_TOGETHER = 100  # ended batches that are looked after at once


@dataclass(frozen=True, slots=True)
class _Results:
    """The results of a whole batch as its files, stored but not yet the batch's."""

    output: File | None  # None: no line succeeded
    error: File | None  # None: no line failed
    tally: Tally
    products: OutputFiles

    def summary(self, shard: Shard) -> BatchSummary:
        """What a batch has come to whose only shard is ``shard``."""
        summary = BatchSummary()
        summary.add_sums(replace(shard, tally=self.tally))
        summary.calls = self.products.statistics
        return summary

    @property
    def files(self) -> list[File]:
        return [file for file in (self.output, self.error) if file is not None]


class SingleShardBatches:
    """Completes batches of one shard."""

    def __init__(
        self,
        *,
        metadata: MetadataStore,
        files: FileStore,
        clock: Clock,
        default_expiry: timedelta | None,
        most_bytes: int,
        ended: "EndedBatches",
    ) -> None:
        """``default_expiry`` of result files; None: they are kept. ``most_bytes``: up to so many of
        results a batch is completed here; 0: none is. ``ended`` looks after the completed ones."""
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
        names = file_id(secrets.token_bytes(12)), file_id(secrets.token_bytes(12))
        stored = await self._store(batch, names, results)
        now = self._clock.now()
        options = with_saved_tokens(batch, stored.products.saved)
        ended = batch.evolve(
            status=BatchStatus.COMPLETED,
            deadline=deadline,
            open_shards=0,
            counts=Counts(
                total=stored.tally.lines,
                completed=stored.tally.completed,
                failed=stored.tally.failed,
            ),
            usage=stored.tally.usage,
            output_file_id=None if stored.output is None else stored.output.id,
            error_file_id=None if stored.error is None else stored.error.id,
            finalizing_at=now,
            completed_at=now,
        )
        completed = await self._metadata.shards.complete(
            lease.ref,
            stored.tally,
            deadline=deadline,
            files=stored.files,
            output=ended.output_file_id,
            error=ended.error_file_id,
            now=now,
            events=[lifecycle.terminal_event(ended)],
            options=options,
            report=report_of(ended, now, stored.summary(lease.shard)),
        )
        if completed is None:
            await self._discard(names)
            return None
        logger.info(
            "completed: %d succeeded, %d failed of %d",
            completed.counts.completed,
            completed.counts.failed,
            completed.counts.total,
            extra={"action": "completed", "tenant_id": batch.tenant, "batch_id": batch.id},
        )
        self._ended.add(completed, lease)
        return completed

    async def _store(
        self, batch: Batch, names: tuple[FileId, FileId], results: Sequence[bytes]
    ) -> _Results:
        products, tally = OutputFiles(), Tally()
        for line in in_input_order(results):
            products.add(line)
            tally += line.tally
        output, error = products.output.take(), products.error.take()
        rows = [
            result_file(batch, kind, name, product, self._clock.now(), self._default_expiry)
            for kind, name, product in (
                ("output", names[0], products.output),
                ("error", names[1], products.error),
            )
        ]
        try:
            async with task_group() as group:
                for row, content in zip(rows, (output, error), strict=True):
                    if row is not None:
                        group.create_task(self._files.put(row.key, content))
        except BaseException:
            await self._discard(names)
            raise
        return _Results(rows[0], rows[1], tally, products)

    async def _discard(self, names: Iterable[FileId]) -> None:
        """Remove blobs that no row names; what fails here the janitor does."""
        with suppress(Temporary):
            await self._files.delete(*blobs_of(*names))


def in_input_order(results: Iterable[bytes]) -> Iterable[PartLine]:
    """Encoded part lines by line number; of several for one line the first."""
    lines: dict[int, PartLine] = {}
    for raw in results:
        line = decode_part_line(raw)
        lines.setdefault(line.line, line)
    return [line for _, line in sorted(lines.items())]


class EndedBatches:
    """Announces batches that have ended, and clears up after them, several at a time.

    Whatever is not done here the janitor does: the events are in the outbox, and a batch that is
    not cleared up is found by its row.
    """

    def __init__(
        self,
        *,
        metadata: MetadataStore,
        files: FileStore,
        scratch: ScratchStore,
        publisher: EventPublisher,
        webhook_outbox: WebhookOutbox,
    ) -> None:
        self._metadata = metadata
        self._files = files
        self._scratch = scratch
        self._publisher = publisher
        self._webhook_outbox = webhook_outbox
        self._waiting: list[tuple[Batch, Lease]] = []
        self._added = asyncio.Event()
        self._at_work = asyncio.Lock()

    def add(self, batch: Batch, lease: Lease) -> None:
        """Look after ``batch``, which was completed under ``lease``."""
        self._waiting.append((batch, lease))
        self._added.set()

    async def keep(self) -> None:
        """Look after batches until cancelled."""
        while True:
            await self._added.wait()
            await self.drain()

    async def drain(self) -> None:
        """Look after all batches that were added. Never raises what a store or a broker causes."""
        async with self._at_work:
            while self._waiting:
                some, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
                async with log_errors("Left for the janitor", "ended"):
                    await self._look_after(some)
            self._added.clear()

    async def _look_after(self, ended: Sequence[tuple[Batch, Lease]]) -> None:
        batches = [batch for batch, _ in ended]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._scratch.queue.complete([lease.shard.id for _, lease in ended]))
            group.create_task(self._publisher.publish(*map(lifecycle.terminal_event, batches)))
        await self._webhook_outbox.enqueue(*batches)
        for batch in batches:
            await self._files.delete_prefix(work_prefix(batch.id))
        await self._metadata.batches.swept(*(batch.id for batch in batches))
