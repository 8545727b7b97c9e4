"""A shard's way through an executor: lease, flush, and finish or hand-back.

The queue proposes, the database grants. Every step that ends a lease stores the exact list of
parts with it, so whatever is written under the lease later is never read. A finished shard is
compacted into one part, so merging a batch reads one object per shard.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from batch_gateway import meters
from batch_gateway.core.errors import BatchGatewayError, Temporary, Unavailable
from batch_gateway.core.events import Event, EventType, fact
from batch_gateway.core.ids import ActivationId, ShardId
from batch_gateway.core.lines import ShardLine, decode_shard_line, not_answered
from batch_gateway.core.model import Closed, Lease, Tally, Ticket
from batch_gateway.core.tracing import trace_id
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.scratch import Progress, ShardQueue
from batch_gateway.services.announce import Announcer
from batch_gateway.services.execute.holding import Holding, starting
from batch_gateway.services.milestones import Watch
from batch_gateway.services.passing import PassedHeaders
from batch_gateway.services.results.parts import read_blob, read_recorded, write_part
from batch_gateway.settings import Execution

logger = logging.getLogger(__name__)

_DEATHS = 3  # of workers with a line in flight: once among others, then twice alone


class Custody:
    """What an activation does with leases, for one holder."""

    def __init__(
        self,
        holder: ActivationId,
        *,
        metadata: MetadataStore,
        files: FileStore,
        queue: ShardQueue,
        progress: Progress,
        announcer: Announcer,
        passing: PassedHeaders | None,
        guard: Watch,
        clock: Clock,
        rules: Execution,
    ) -> None:
        self._holder = holder
        self._metadata = metadata
        self._files = files
        self._queue = queue
        self._progress = progress
        self._announcer = announcer
        self._passing = passing
        self._guard = guard
        self._clock = clock
        self._rules = rules
        self._ttl = timedelta(seconds=rules.lease_ttl_s)

    async def lease(self, propose: Callable[[], Awaitable[Ticket | None]]) -> Holding | None:
        """Lease the next shard that the queue proposes; None when there is none."""
        while (ticket := await propose()) is not None:
            lease = await self._metadata.shards.claim(
                ticket.shard,
                holder=self._holder,
                token=secrets.token_hex(6),
                now=self._clock.now(),
            )
            if lease is None:  # closed, paused or ending meanwhile: whoever changes that pushes
                await self._queue.complete([ticket.shard])
                continue
            await self._queue.lease(ticket, lease.ref, self._ttl)
            return await self._open(ticket, lease)
        return None

    async def _open(self, ticket: Ticket, lease: Lease) -> Holding:
        shard = lease.shard
        try:
            passed = self._passed(lease)
            done = await read_recorded(self._files, shard.parts)
            content = await read_blob(self._files, shard.key)
        except BatchGatewayError:
            await self._metadata.shards.release(
                lease.ref, shard.parts, Tally(), now=self._clock.now(), events=[]
            )
            raise
        lines = (decode_shard_line(raw) for raw in content.splitlines())
        loop = asyncio.get_running_loop()
        holding = Holding(
            lease,
            ticket,
            (line for line in lines if line.line not in done.lines),
            attempts=done.attempts,
            deaths=done.deaths,
            aborts=done.aborts,
            cut=done.cut,
            tally=done.tally,
            passed=passed,
            most_buffered=4 * self._rules.flush_results,
            stop_at=loop.time() + (lease.deadline - self._clock.now()).total_seconds(),
        )
        for line in holding.take_poison(_DEATHS):
            self._write_off(holding, line)
        logger.info(
            "Leased %s: %d of %d lines to do",
            shard.id,
            holding.left,
            shard.lines,
            extra={"action": "leased", **_log(holding)},
        )
        return holding

    def _write_off(self, holding: Holding, line: ShardLine) -> None:
        """A line that took every worker down with it is not tried again."""
        logger.error(
            "Line %d of %s has killed its workers and is not tried again",
            line.line,
            holding.lease.shard.batch,
            extra={"action": "poison", "line": line.line, **_log(holding)},
        )
        result = not_answered(
            holding.lease.shard.batch,
            line.line,
            line.custom_id,
            code="worker_crashed",
            message="Two workers died while this request was the only one they were working on.",
        )
        holding.write_off(result)

    def _passed(self, lease: Lease) -> Mapping[str, str]:
        """Headers that calls carry on. Raises Unavailable while they cannot be opened."""
        if lease.sealed is None:
            return {}
        if self._passing is None:
            raise Unavailable("a batch has sealed headers, but inference.header_keys is empty")
        return self._passing.open(lease)

    async def flush(self, holding: Holding) -> None:
        """Store what is finished as a part, so that a crash costs no more than what came later.

        A store that does not answer now is logged: the lines stay in the buffer, and a full
        buffer starts no more lines.
        """
        async with holding.writing:
            to_note = holding.to_note()
            try:
                await self._write(holding, starting(to_note))
            except Temporary as error:
                logger.warning(
                    "Results wait for the file store: %s",
                    error,
                    extra={"action": "flush", **_log(holding)},
                )
                return
            for work in to_note:
                work.noted = True
        try:
            await self._progress.report(holding.lease.shard.id, holding.tally, 4 * self._ttl)
        except Temporary as error:
            logger.debug("Progress is not reported: %s", error, extra={"action": "progress"})
        await self._guard.check(holding.lease)

    async def _write(self, holding: Holding, notes: Sequence[bytes] = ()) -> None:
        """Store what is finished, and ``notes`` behind it; these only count if that succeeds."""
        lines = holding.take_buffer()
        if not lines and not notes:
            return
        try:
            part = await write_part(
                self._files, holding.lease.shard, holding.sequence, [*lines, *notes]
            )
        except BaseException:
            holding.put_back_buffer(lines)
            raise
        holding.sequence += 1
        holding.parts.append(part)
        meters.flushed(len(lines))

    async def finish(self, holding: Holding) -> None:
        """Close a shard whose lines all have results."""
        shard = holding.lease.shard
        event = _executed(holding)
        async with holding.writing:
            results = await read_recorded(self._files, holding.parts)
            buffered = holding.take_buffer()
            results.add(b"".join(buffered))
            try:
                part = await write_part(self._files, shard, holding.sequence, [results.content()])
                closed = await self._metadata.shards.finish(
                    holding.lease.ref, [part], results.tally, now=self._clock.now(), events=[event]
                )
            except BaseException:
                holding.put_back_buffer(buffered)
                holding.sequence += 1
                raise
        if closed is None:
            logger.info("Lost the lease before its end", extra={"action": "lost", **_log(holding)})
        await self._closed(holding, closed, event)
        await self._guard.check(holding.lease)

    async def hand_back(self, holding: Holding) -> None:
        """Give a shard up with everything that is finished; no call of it is running any more."""
        event = _executed(holding)
        async with holding.writing:
            await self._write(holding)
            notes = holding.notes()
            recorded = list(holding.parts)
            if notes:
                recorded.append(
                    await write_part(self._files, holding.lease.shard, holding.sequence, notes)
                )
            released = await self._metadata.shards.release(
                holding.lease.ref,
                recorded,
                holding.tally,
                now=self._clock.now(),
                events=[event],
            )
        if released is True:
            share = holding.left / holding.lease.shard.lines
            await self._queue.release(holding.ticket, refund=share)
            await self._progress.forget([holding.lease.shard.id])
            logger.info("Handed back", extra={"action": "handed_back", **_log(holding)})
        else:
            await self._closed(holding, released or None, event)

    async def _closed(self, holding: Holding, closed: Closed | None, event: Event) -> None:
        """The shard is closed (``closed`` None: by somebody else, or another has it)."""
        shard = holding.lease.shard.id
        if closed is None:
            meters.LEASES_LOST.inc()
            return
        if closed.last:
            await self._announcer.announce(event)
        await self.forget([shard])

    async def forget(self, shards: Sequence[ShardId]) -> None:
        """Take closed shards out of the scratch memory; it may be away, then sweeps do it."""
        try:
            await self._queue.complete(shards)
            await self._progress.forget(shards)
        except Temporary as error:
            logger.debug("Closed shards stay in the queue: %s", error, extra={"action": "forget"})


def _executed(holding: Holding) -> Event:
    lease = holding.lease
    return fact(EventType.BATCH_EXECUTED, lease.shard.batch, traceparent=lease.traceparent)


def _log(holding: Holding) -> dict[str, str | None]:
    lease = holding.lease
    return {
        "batch_id": lease.shard.batch,
        "shard_id": lease.shard.id,
        "tenant_id": lease.tenant,
        "trace_id": trace_id(lease.traceparent),
    }
