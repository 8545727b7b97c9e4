"""The life of a lease: acquire, open, flush, finish, release.

The queue proposes a shard and the database grants the lease. Each step that ends a lease stores the
exact list of parts with it, so what is written under the lease later is never read. A finished
shard is compacted into one part, so merging a batch reads one object per shard; unless its results
are so large that a reader should not hold all of them in memory.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from batch_gateway import meters
from batch_gateway.core.errors import CorruptRow, Temporary
from batch_gateway.core.events import Event, EventType, internal_event
from batch_gateway.core.ids import ActivationId, ShardId, split_shard_id
from batch_gateway.core.model import ClosedShard, Lease, LeaseRef, QueueEntry, ResultTally
from batch_gateway.ports.clock import Clock
from batch_gateway.services.assemble.single_shard import SingleShardCompletion
from batch_gateway.services.collaborators import Stores
from batch_gateway.services.event_publisher import EventPublisher
from batch_gateway.services.execute.lease_renewer import LeaseRenewer
from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.services.execute.line_in_flight import starting
from batch_gateway.services.execute.shard_opener import ShardLoader, log
from batch_gateway.services.header_passthrough import HeaderPassthrough
from batch_gateway.services.progress_events import BatchObserver
from batch_gateway.services.results.parts import (
    MOST_BYTES,
    ShardResults,
    divided,
    read_contents,
    read_recorded,
    write_part,
)
from batch_gateway.services.unreadable_shards import UnreadableShardCloser
from batch_gateway.settings import ExecutionSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClaimedShard:
    """A lease that the database granted, and its queue entry."""

    entry: QueueEntry
    lease: Lease
    at: float  # loop.time() of the grant


class ShardLeases:
    """The leases of one holder, against the database, the queue and the file store."""

    def __init__(
        self,
        holder: ActivationId,
        *,
        stores: Stores,
        renewer: LeaseRenewer,
        publisher: EventPublisher,
        header_passthrough: HeaderPassthrough | None,
        watch: BatchObserver,
        clock: Clock,
        rules: ExecutionSettings,
        single_shards: SingleShardCompletion | None = None,
    ) -> None:
        """``header_passthrough`` None: no batch has sealed headers. ``watch`` checks each batch
        whose recorded counts have changed. ``single_shards`` completes batches of one shard; None:
        the assembler does."""
        self._holder = holder
        self._rows = stores.metadata.shards
        self._files = stores.files
        self._queue = stores.coordination.queue
        self._renewer = renewer
        self._publisher = publisher
        self._watch = watch
        self._clock = clock
        self._ttl = timedelta(seconds=rules.lease_ttl_s)
        self._opener = ShardLoader(
            files=stores.files,
            coordination=stores.coordination,
            header_passthrough=header_passthrough,
            close_unreadable=self._close_unreadable,
        )
        self.open = self._opener.open
        self._mender = UnreadableShardCloser(
            rows=self._rows, queue=self._queue, publisher=publisher, clock=clock
        )
        self._single_shards = single_shards

    async def acquire(
        self, propose: Callable[[], Awaitable[QueueEntry | None]]
    ) -> ClaimedShard | None:
        """Lease the next shard that ``propose`` proposes; None when there is none."""
        while (entry := await propose()) is not None:
            try:
                lease = await self._rows.claim(
                    entry.shard,
                    holder=self._holder,
                    token=secrets.token_hex(6),
                    now=self._clock.now(),
                )
                if lease is None:  # closed, paused or ending: that change is what pushes it again
                    await self._queue.complete([entry.shard])
                    continue
            except CorruptRow as error:  # what is behind it in the queue is leased instead
                meters.CORRUPT_ROWS.labels(error.kind).inc()
                logger.error(
                    "%s is not leased: %s",
                    entry.shard,
                    error,
                    extra={"action": "corrupt_row", "shard_id": entry.shard},
                )
                await self._queue.complete([entry.shard])
                await self._mend(entry.shard, error)
                continue
            except Exception:
                await self._make_ready(entry, refund=1.0)
                raise
            at = asyncio.get_running_loop().time()
            try:
                await self._queue.lease(entry, lease.ref, self._ttl)
            except Temporary as error:  # the renewer registers it
                logger.info("A lease has no heartbeat yet: %s", error, extra={"action": "lease"})
            return ClaimedShard(entry, lease, at)
        return None

    async def _mend(self, shard: ShardId, error: CorruptRow) -> None:
        batch, _ = split_shard_id(shard)
        try:
            await self._mender.mend_for(error, batch)
        except CorruptRow:  # the batch's own row
            logger.debug(
                "The unreadable row of %s is not repaired", batch, extra={"action": "mended"}
            )

    async def _close_unreadable(self, shard: LeasedShard, done: ShardResults) -> None:
        """Close a shard whose requests are lost; assembly makes its error lines."""
        missing = shard.lease.shard.lines - len(done.lines)
        tally = replace(done.tally, failed=done.tally.failed + missing)
        event = _executed(shard)
        closed = await self._rows.finish(
            shard.lease.ref, shard.results.parts, tally, now=self._clock.now(), events=[event]
        )
        meters.SHARDS_UNREADABLE.inc()
        shard.results.closed_unreadable(tally)
        await self._closed(shard, closed, event)

    # -- results ----------------------------------------------------------------------------------

    async def flush(self, shard: LeasedShard) -> None:
        """Store finished lines as a part, so that a crash costs no more than what came later.

        While the store is unavailable the lines stay in the buffer, and a full buffer starts no
        more lines.
        """
        async with shard.writing:
            to_note, to_clear = shard.to_note(), shard.to_clear()
            try:
                await self._write(shard, [*shard.clearing(to_clear), *starting(to_note)])
            except Temporary as error:
                logger.warning(
                    "Results wait for the file store: %s",
                    error,
                    extra={"action": "flush", **log(shard)},
                )
                return
            shard.noted(to_note)
            if to_clear is not None:
                shard.cleared(to_clear, asyncio.get_running_loop().time())

    async def _write(self, shard: LeasedShard, notes: Sequence[bytes] = ()) -> None:
        """Store what is finished, and ``notes`` behind it; these only count if that succeeds.

        Each part has ``MOST_BYTES`` at most, or one line: readers hold a part in memory.
        """
        results = shard.results
        lines, tally = results.take(), results.whole_tally
        if not lines and not notes:
            return
        stored = 0
        try:
            with shard.spans.flush(len(lines)):
                for piece in divided([*lines, *notes], MOST_BYTES):
                    part = await write_part(self._files, shard.lease.shard, results.sequence, piece)
                    results.stored(part, sum(map(len, piece)))
                    stored += len(piece)
        except BaseException:
            results.put_back(lines[stored:])
            raise
        results.stored_tally = tally
        meters.flushed(len(lines))

    async def checkpoint(self, shards: Iterable[LeasedShard]) -> None:
        """Record in the database how much of ``shards`` is stored, in one transaction.

        What is shown of a running batch is what is recorded, so it survives whatever becomes of
        the holder and of the coordination store. Raises Unavailable.
        """
        changed = [shard for shard in shards if shard.held and not shard.results.all_recorded]
        if not changed:
            return
        tallies = {shard.lease.ref: shard.results.stored_tally for shard in changed}
        batches = {batch.id: batch for batch in await self._rows.checkpoint(tallies)}
        for shard in changed:
            shard.results.recorded_tally = tallies[shard.lease.ref]
        leases = {shard.lease.shard.batch: shard.lease for shard in changed}
        for name, batch in batches.items():
            await self._watch.check(leases[name], batch)

    # -- the end ----------------------------------------------------------------------------------

    async def finish(self, shard: LeasedShard) -> None:
        """Close a shard whose lines all have results. Raises Corrupt when a part was lost."""
        event = _executed(shard)
        async with shard.writing:
            if await self._complete(shard):
                return
            if shard.results.fits_one_part:
                closed = await self._finish_compacted(shard, event)
            else:
                await self._write(shard)
                closed = await self._rows.finish(
                    shard.lease.ref,
                    shard.results.parts,
                    shard.results.stored_tally,
                    now=self._clock.now(),
                    events=[event],
                )
        await self._closed(shard, closed, event)

    async def _finish_compacted(self, shard: LeasedShard, event: Event) -> ClosedShard | None:
        """Close it with all its results in one part."""
        content, tally = await self._compacted(shard)
        buffered = shard.results.take()
        try:
            with shard.spans.flush(tally.completed + tally.failed):
                part = await write_part(
                    self._files, shard.lease.shard, shard.results.sequence, [content]
                )
            return await self._rows.finish(
                shard.lease.ref, [part], tally, now=self._clock.now(), events=[event]
            )
        except BaseException:
            shard.results.put_back(buffered)
            shard.results.sequence += 1
            raise

    async def _compacted(self, shard: LeasedShard) -> tuple[bytes, ResultTally]:
        """All results of a shard, stored or not, without notes, and what they come to."""
        buffered = b"".join(shard.results.waiting)
        if shard.lease.shard.epoch == 1:  # all parts are this lease's: no line twice, no notes
            contents = await read_contents(self._files, shard.results.parts)
            return b"".join([*contents, buffered]), shard.results.whole_tally
        results = await read_recorded(self._files, shard.results.parts)
        results.add(buffered)
        return results.content(), results.tally

    async def _complete(self, shard: LeasedShard) -> bool:
        """Complete the batch if the shard is all of it and nothing of its results is stored."""
        if self._single_shards is None or shard.results.parts or shard.results.sequence:
            return False
        results = shard.results.take()
        batch = None
        try:
            if self._single_shards.can_complete(shard.lease, results):
                batch = await self._single_shards.complete(shard.lease, shard.deadline, results)
        finally:
            if batch is None:
                shard.results.put_back(results)
        if batch is None:
            return False
        self._renewer.end(shard.lease.ref)
        meters.flushed(len(results))
        return True

    async def release(self, shard: LeasedShard, *, refund: bool = True) -> None:
        """Hand a shard back with everything that is finished; no call of it is running any more.

        ``refund``: the tenant's virtual time gets back the cost of what was not done.
        """
        event = _executed(shard)
        async with shard.writing:
            await self._write(shard)
            notes = shard.notes()
            recorded = list(shard.results.parts)
            if notes:
                recorded.append(
                    await write_part(self._files, shard.lease.shard, shard.results.sequence, notes)
                )
            released = await self._rows.release(
                shard.lease.ref,
                recorded,
                shard.results.stored_tally,
                now=self._clock.now(),
                events=[event],
            )
        if released is True:
            self._renewer.end(shard.lease.ref)
            share = shard.left / shard.lease.shard.lines if refund else 0.0
            await self._make_ready(shard.entry, refund=share, lease=shard.lease.ref)
            logger.info("Shard released", extra={"action": "handed_back", **log(shard)})
        else:
            await self._closed(shard, released or None, event)

    async def _make_ready(
        self, entry: QueueEntry, *, refund: float, lease: LeaseRef | None = None
    ) -> None:
        """Put a shard into the queue again; if Redis is unavailable, a sweep does it later."""
        try:
            await self._queue.release(entry, refund=refund, lease=lease)
        except Temporary as error:
            logger.warning("A shard is not queued yet: %s", error, extra={"action": "release"})

    async def _closed(self, shard: LeasedShard, closed: ClosedShard | None, event: Event) -> None:
        """The shard is closed (``closed`` None: by another holder, or another has it)."""
        if closed is None:
            logger.info("Lost the lease before its end", extra={"action": "lost", **log(shard)})
            meters.LEASES_LOST.inc()
            shard.lose()
            return
        self._renewer.end(shard.lease.ref)
        if closed.last:
            await self._publisher.publish(event)
        await self._forget([shard.lease.shard.id])
        await self._watch.check(shard.lease, closed.batch)

    async def _forget(self, shards: Sequence[ShardId]) -> None:
        """Take closed shards out of the queue; sweeps do it when the server is away."""
        try:
            await self._queue.complete(shards)
        except Temporary as error:
            logger.debug(
                "Closed shards are not removed from the queue: %s",
                error,
                extra={"action": "forget"},
            )


def _executed(shard: LeasedShard) -> Event:
    lease = shard.lease
    return internal_event(
        EventType.BATCH_EXECUTED, lease.shard.batch, traceparent=lease.traceparent
    )
