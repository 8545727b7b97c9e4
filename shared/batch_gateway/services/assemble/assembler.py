"""Assembler: merges the results of a batch into its output and error file.

It begins when no shard is open any more, and reads exactly the parts that the shards' rows name.
Lines that never ran, because the batch was cancelled or expired, get their error lines here and
nowhere else. The right to assemble is leased; files are written under fresh ids, so of two
concurrent assemblers only one commits, and the other deletes its own files. While it assembles a
large batch, it stores what it has collected, so that the next attempt after a crash resumes there
(``result_collector``).
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

from batch_gateway.core import lifecycle
from batch_gateway.core.errors import (
    Busy,
    Corrupt,
    CorruptRow,
    NotFound,
    Temporary,
    Unavailable,
)
from batch_gateway.core.ids import BatchId, FileId
from batch_gateway.core.layout import file_key
from batch_gateway.core.model import Batch, BatchError, BatchStatus, EndReason, LineCounts
from batch_gateway.core.usage import report_of
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.assemble.ended_batches import EndedBatchHandler
from batch_gateway.services.assemble.merge import ResultMerge
from batch_gateway.services.assemble.result_collector import RequestsLost, ResultCollector
from batch_gateway.services.assemble.result_files import (
    ResultFiles,
    assembly_span,
    discard,
    log_ended,
    new_names,
    result_files,
)
from batch_gateway.services.batches.analytics import recorded_summary
from batch_gateway.services.event_publisher import EventPublisher
from batch_gateway.services.process_deaths import DEATHS, ProcessDeaths, TooManyProcessDeaths
from batch_gateway.services.results.completion_order import CompletionOrderLog
from batch_gateway.services.results.lost_objects import LostObjectDetector
from batch_gateway.services.task_group import task_group
from batch_gateway.services.unreadable_shards import UnreadableShardCloser
from batch_gateway.services.webhooks.outbox import WebhookOutbox

logger = logging.getLogger(__name__)

_ENDS = {
    None: BatchStatus.COMPLETED,
    EndReason.EXPIRED: BatchStatus.EXPIRED,
    EndReason.CANCELLED: BatchStatus.CANCELLED,
}
_ATTEMPTS = 3  # a cancel in the middle makes one assembly in vain
SMALL = 10_000  # lines of a batch that may be assembled beside any number of others
_QUEUE = 4  # chunks of one file between the merging thread and the store


class Assembler:
    def __init__(
        self,
        *,
        metadata: MetadataStore,
        files: FileStore,
        coordination: CoordinationStore,
        publisher: EventPublisher,
        webhook_outbox: WebhookOutbox,
        clock: Clock,
        temp_dir: Path,
        lease_ttl: timedelta,
        default_expiry: timedelta | None,
        longest_line: int,
        run_bytes: int,
    ) -> None:
        """``default_expiry`` of result files; None: they are kept.

        ``run_bytes``: about how much of a batch's results a crash makes the next assembler read
        again, shard by shard.
        """
        self._metadata = metadata
        self._files = files
        self._coordination = coordination
        self._ended = EndedBatchHandler(metadata, files, publisher, webhook_outbox)
        self._clock = clock
        self._temp_dir = temp_dir
        self._ttl = lease_ttl
        self._default_expiry = default_expiry
        self._longest_line = longest_line
        self._run_bytes = run_bytes
        self._one_large = asyncio.Semaphore(1)  # of batches beyond SMALL, one at a time
        self._lost_objects = LostObjectDetector(coordination)
        self._deaths = ProcessDeaths("assembly", coordination.rate_limiter, coordination.locks)
        self._mender = UnreadableShardCloser(
            rows=metadata.shards, queue=coordination.queue, publisher=publisher, clock=clock
        )

    async def assemble(self, batch_id: BatchId) -> None:
        """Assemble the batch if it is time to, or announce again what has become of it.

        Raises Busy while another assembler is at it. Results that are missing or damaged for good
        become error lines (``results.losses``); until then it raises Unavailable.
        """
        holder = secrets.token_hex(8)
        for _ in range(_ATTEMPTS):
            batch = await self._metadata.batches.load(batch_id)
            if batch is None:
                raise NotFound(f"no batch {batch_id}")
            if batch.terminal:
                await self._ended.announce(batch)
                await self._clear(batch)
                return
            if not batch.assemblable:  # shards are open: closing the last one publishes again
                return
            async with self._turn(batch), self._leased(batch_id, holder) as leased:
                with assembly_span(leased):
                    ended = await self._attempt(leased, holder)
            if ended is not None:
                await self._ended.announce(ended)
                await self._clear(ended)
                return
        raise Busy(f"{batch_id} changed under the assembler {_ATTEMPTS} times")

    def _turn(self, batch: Batch) -> AbstractAsyncContextManager[None]:
        """What a batch waits for: small ones for nothing, a large one for the one before it."""
        return nullcontext() if batch.counts.total <= SMALL else self._one_large

    @asynccontextmanager
    async def _leased(self, batch_id: BatchId, holder: str) -> AsyncIterator[Batch]:
        """Hold the right to assemble, renewed as long as the context is open."""
        batch = await self._claim(batch_id, holder)
        async with task_group() as group:
            renewing = group.create_task(self._renew(batch_id, holder))
            try:
                yield batch
            finally:
                renewing.cancel()

    async def _claim(self, batch_id: BatchId, holder: str) -> Batch:
        batch = await self._metadata.batches.claim_assembly(
            batch_id, holder, now=self._clock.now(), ttl=self._ttl
        )
        if batch is None:
            raise Busy(f"{batch_id} is being assembled by another process")
        return batch

    async def _renew(self, batch_id: BatchId, holder: str) -> None:
        while True:
            await asyncio.sleep(self._ttl.total_seconds() / 3)
            try:
                await self._metadata.batches.claim_assembly(
                    batch_id, holder, now=self._clock.now(), ttl=self._ttl
                )
            except Temporary as error:  # the last transaction checks the lease
                logger.warning(
                    "The lease of an assembly is not renewed: %s", error, extra=_log(batch_id)
                )

    async def _attempt(self, batch: Batch, holder: str) -> Batch | None:
        """Assemble; fail the batch when that has killed a number of processes."""
        try:
            async with self._deaths.counted(batch.id):
                return await self._assemble(batch, holder)
        except TooManyProcessDeaths as error:
            logger.error("%s", error, extra={"tenant_id": batch.tenant, **_log(batch.id)})
            return await self._fail(
                batch,
                f"The results could not be merged: {DEATHS} processes died while they read them,"
                " perhaps for lack of memory.",
            )

    async def _assemble(self, batch: Batch, holder: str) -> Batch | None:
        """Write the files and make them the batch's; None when the batch changed meanwhile."""
        try:
            assembled = await self._write(batch)
        except (Temporary, OSError):
            raise
        except Exception as error:  # not even what is left can be read
            if not await self._lost_objects.is_final(f"survivors/{batch.id}"):
                raise Unavailable(f"{batch.id} cannot be assembled yet: {error!r}") from error
            logger.exception("The batch fails", extra={"tenant_id": batch.tenant, **_log(batch.id)})
            return await self._fail(
                batch,
                "The results could not be merged because of an internal error:"
                f" {type(error).__name__}.",
            )
        now = self._clock.now()
        then = assembled.ended(batch, _ENDS[batch.ending], now)
        ended = await self._metadata.batches.finish(
            batch.id,
            then.status,
            holder=holder,
            files=assembled.files,
            output=then.output_file_id,
            error=then.error_file_id,
            counts=then.counts,
            usage=then.usage,
            options=assembled.options(batch),
            report=report_of(then, now, assembled.summary),
            now=now,
            events=[lifecycle.terminal_event(then)],
        )
        if ended is None:
            await discard(self._files, [file.id for file in assembled.files])
            return None
        log_ended(ended)
        return ended

    async def _fail(self, batch: Batch, why: str) -> Batch | None:
        now = self._clock.now()
        reason = BatchError(
            code="assembly_failed", message=f"{why} The log of the assembler has the details."
        )
        failed = batch.evolve(status=BatchStatus.FAILED, failed_at=now, errors=(reason,))
        summary = await recorded_summary(self._metadata.shards, batch.id)
        return await self._metadata.batches.fail(
            batch.id,
            [reason],
            now=now,
            events=[lifecycle.terminal_event(failed)],
            report=report_of(failed, now, summary),
        )

    async def _write(self, batch: Batch) -> ResultFiles:
        """Both files from all results; from what is left once results count as lost.

        Raises Temporary when results are missing and may come back.
        """
        try:
            return await self._merged(batch)
        except (Temporary, OSError):
            raise
        except RequestsLost as error:
            logger.error("Requests are lost: %s", error, extra=_log(batch.id))
        except CorruptRow as error:
            await self._mender.mend_for(error, batch.id)
        except Exception as error:  # stored bytes are missing, damaged, or nothing of ours
            if not await self._lost_objects.is_final(f"assembly/{batch.id}"):
                logger.error("Assembly will be retried: %r", error, extra=_log(batch.id))
                raise Unavailable(f"{batch.id} cannot be assembled yet: {error!r}") from error
            logger.exception(
                "Results are lost, the others are kept",
                extra={"tenant_id": batch.tenant, **_log(batch.id)},
            )
        return await self._merged(batch, surviving=True)

    async def _merged(self, batch: Batch, *, surviving: bool = False) -> ResultFiles:
        names = new_names()
        merge, order = ResultMerge(self._temp_dir), CompletionOrderLog(self._temp_dir)
        try:
            gathering = ResultCollector(
                batch,
                metadata=self._metadata,
                files=self._files,
                merge=merge,
                order=order,
                run_bytes=self._run_bytes,
                surviving=surviving,
            )
            await gathering.gather()
            if not gathering.shards:  # it ended before it was planned
                await gathering.add_input(self._temp_dir, self._longest_line)
            elif gathering.unknown:
                await gathering.add_unknown(self._temp_dir, self._longest_line)
            await self._store(merge, names)
            await order.store(self._files, names[0 if merge.output.lines else 1])
            lines = merge.output.lines + merge.error.lines
            if lines != gathering.lines:
                raise Corrupt(f"{batch.id} has {lines} results for {gathering.lines} lines")
        except BaseException:  # also when the request is cancelled
            await discard(self._files, names)
            raise
        finally:
            await asyncio.to_thread(merge.close)
            await asyncio.to_thread(order.close)
        counts = LineCounts(
            total=batch.counts.total if batch.is_dry else gathering.lines,
            completed=merge.output.lines,
            failed=merge.error.lines - gathering.not_run,
        )
        summary = gathering.summary
        summary.calls = merge.statistics
        return result_files(
            batch,
            merge,
            names,
            counts=counts,
            summary=summary,
            now=self._clock.now(),
            default_expiry=self._default_expiry,
        )

    async def _store(self, merge: ResultMerge, names: tuple[FileId, FileId]) -> None:
        """Stream both products to the store as they are merged; one without a line is left out."""
        queues = {
            id(product): _Stream(self._files, file_key(name))
            for product, name in zip((merge.output, merge.error), names, strict=True)
        }
        chunks = merge.chunks()
        async with task_group() as group:
            while (found := await asyncio.to_thread(next, chunks, None)) is not None:
                product, chunk = found
                await queues[id(product)].put(chunk, group)
            for stream in queues.values():
                await stream.end()

    async def _clear(self, batch: Batch) -> None:
        """Delete what only the work needed; the janitor deletes what is left by an error."""
        try:
            await self._coordination.queue.withdraw(batch.id)
            await self._ended.clear(batch)
        except Temporary as error:
            logger.info("The janitor will retry it: %s", error, extra=_log(batch.id))


class _Stream:
    """A blob that is written while it comes into being; nothing is written if nothing comes."""

    def __init__(self, files: FileStore, key: str) -> None:
        self._files = files
        self._key = key
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE)
        self._begun = False

    async def put(self, chunk: bytes, group: asyncio.TaskGroup) -> None:
        if not self._begun:
            self._begun = True
            group.create_task(self._files.put(self._key, self._chunks()))
        await self._queue.put(chunk)

    async def end(self) -> None:
        if self._begun:
            await self._queue.put(None)

    async def _chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self._queue.get()) is not None:
            yield chunk


def _log(batch: BatchId) -> dict[str, str]:
    return {"action": "assembly", "batch_id": batch}
