"""Janitor: one sweep repairs whatever crashes and lost events have left behind.

Each step is idempotent, safe to run twice at once, and independent of the others: one that fails
does not keep the rest from running. The database says what is to be done; the queue and the
events are only made to agree with it.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from batch_gateway import meters
from batch_gateway.core.errors import BatchGatewayError, Temporary
from batch_gateway.core.events import Event, EventType, fact
from batch_gateway.core.idempotency import KEPT
from batch_gateway.core.layout import blobs_of, upload_prefix, work_prefix
from batch_gateway.core.lifecycle import at_risk, told
from batch_gateway.core.model import Batch, BatchStatus
from batch_gateway.core.risk import late
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.scratch import Scratch
from batch_gateway.services.announce import Announcer, Waker
from batch_gateway.services.batches.chain import Followers
from batch_gateway.services.batches.outlook import Outlooks
from batch_gateway.services.endings import Endings
from batch_gateway.services.live import with_progress
from batch_gateway.services.upkeep.demand import Demand
from batch_gateway.services.upkeep.orphans import delete_orphans
from batch_gateway.services.upkeep.rebuild import ensure_generation, refill
from batch_gateway.services.upkeep.retention import Retention
from batch_gateway.services.webhooks.notices import Notices
from batch_gateway.settings import Sweep

logger = logging.getLogger(__name__)

LIMIT = 200  # things of a kind that are looked at together
#: How long an upload that was completed in the last moment may take to become a file.
_COMPLETING = timedelta(hours=1)
_RARELY = timedelta(hours=1)
_SELDOM = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How long the records are kept that nobody deletes."""

    deliveries: timedelta  # of webhooks
    causes: timedelta
    dead_letters: timedelta


class Janitor:
    def __init__(
        self,
        *,
        metadata: MetadataStore,
        files: FileStore,
        scratch: Scratch,
        announcer: Announcer,
        notices: Notices,
        waker: Waker,
        endings: Endings,
        clock: Clock,
        demand: Demand,
        outlooks: Outlooks,
        retention: Retention,
        lease_ttl: timedelta,
        kept: Kept,
        rules: Sweep,
    ) -> None:
        self._metadata = metadata
        self._files = files
        self._scratch = scratch
        self._announcer = announcer
        self._notices = notices
        self._followers = Followers(metadata.batches, announcer, clock)
        self._waker = waker
        self._endings = endings
        self._clock = clock
        self._demand = demand
        self._outlooks = outlooks
        self._retention = retention
        self._ttl = lease_ttl
        self._kept = kept
        self._rules = rules

    async def sweep(self) -> None:
        """Run every step once. Raises Temporary at the end when a step could not be done."""
        if not await self._first():
            return
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            self._send_outbox,
            self._expire_batches,
            self._rebuild_queue,
            self._reclaim_leases,
            self._break_fences,
            self._finalize_stranded,
            self._announce_stuck,
            self._warn_of_deadlines,
            self._wake,
            self._deliver_webhooks,
            self._delete_files,
            self._forget_uploads,
            self._delete_work,
            self._delete_batches,
            self._forget_records,
            self._delete_leftovers,
            self._delete_orphans,
            self._recount,
        )
        failed = [step.__name__ for step in steps if not await self._run(step)]
        if failed:
            meters.SWEEPS_FAILED.inc()
            raise Temporary(f"sweep could not {', '.join(failed)}")
        meters.SWEEPS_DONE.inc()

    async def _first(self) -> bool:
        """Whether no other sweep ran just now. Without the scratch server: yes."""
        try:
            return await self._scratch.once("sweep", _seconds(self._rules.interval_s))
        except Temporary:
            return True

    async def _run(self, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
        except BatchGatewayError:
            logger.exception("A step of the sweep failed", extra={"action": step.__name__})
            meters.SWEEP_STEPS_FAILED.labels(step.__name__.lstrip("_")).inc()
            return False
        return True

    async def _send_outbox(self) -> None:
        before = self._clock.now() - _seconds(self._rules.unsent_s)
        unsent = await self._metadata.outbox.unsent(before=before, limit=LIMIT)
        await self._announcer.announce(*(row.event for row in unsent))

    async def _expire_batches(self) -> None:
        for batch in await self._metadata.batches.overdue(LIMIT):
            await self._endings.expire(batch.id)

    async def _rebuild_queue(self) -> None:
        """Every ready shard is queued: a planner may have died between commit and push."""
        if await ensure_generation(self._metadata, self._scratch) is not None:
            await refill(self._metadata, self._scratch)

    async def _reclaim_leases(self) -> None:
        """Leases in the database that have no heartbeat, unless memory was lost just now."""
        generation = await self._scratch.generation()
        if generation is None or generation[1] <= self._ttl:
            return
        old = self._clock.now() - self._ttl
        leased = [
            ref for ref, since in await self._metadata.shards.leased(limit=LIMIT) if since < old
        ]
        alive = await self._scratch.queue.alive(leased)
        await self._endings.reclaim(
            [ref for ref, lives in zip(leased, alive, strict=True) if not lives]
        )

    async def _break_fences(self) -> None:
        """Close the shards of ended batches whose holders do not give them up."""
        for batch in await self._metadata.batches.fenced(LIMIT):
            await self._endings.fence(batch.id)

    async def _finalize_stranded(self) -> None:
        for batch in await self._metadata.batches.stranded(LIMIT):
            event = fact(EventType.BATCH_EXECUTED, batch.id, traceparent=batch.traceparent)
            await self._metadata.batches.finalize(batch.id, now=self._clock.now(), events=[event])

    async def _announce_stuck(self) -> None:
        """Batches that wait for an event that nobody seems to have heard."""
        before = self._clock.now() - _seconds(self._rules.stuck_s)
        stuck = BatchStatus.VALIDATING, BatchStatus.FINALIZING, BatchStatus.CANCELLING
        async for batches in self._unfinished(*stuck, before=before):
            ready = await self._followers.without_waiting(batches)
            await self._announcer.announce(*(_reminder(batch) for batch in ready))

    async def _warn_of_deadlines(self) -> None:
        """Tell of batches that will probably be late; again after an hour, which says the same."""
        now = self._clock.now()
        begun = BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS
        async for batches in self._unfinished(*begun, before=now):
            running = [batch for batch in batches if batch.ending is None]
            live, _ = await with_progress(running, self._metadata.shards, self._scratch.progress)
            for batch in await self._outlooks.add(live):
                if late(batch, now) and await self._scratch.once(f"at_risk/{batch.id}", _RARELY):
                    event = at_risk(batch, now)
                    await self._metadata.outbox.add([event], now)
                    await self._announcer.announce(event)

    async def _unfinished(
        self, *statuses: BatchStatus, before: datetime
    ) -> AsyncIterator[Sequence[Batch]]:
        """All batches in ``statuses`` since before ``before``, some at a time.

        All: whoever waits for long by right must not hide those behind him.
        """
        after: Batch | None = None
        while found := await self._metadata.batches.unfinished(
            statuses, before=before, limit=LIMIT, after=after
        ):
            yield found
            after = found[-1]

    async def _wake(self) -> None:
        """Backlog without an activation, as far as calendars allow any of it now."""
        if not await self._demand.attended() and await self._demand.workable():
            await self._waker.wake()

    async def _deliver_webhooks(self) -> None:
        await self._notices.wake_if_due()

    async def _delete_files(self) -> None:
        """The blobs first: what fails is found again by its row."""
        rows, now = self._metadata.files, self._clock.now()
        while expired := await rows.expired(now, LIMIT):
            await self._files.delete(*blobs_of(*(file.id for file in expired)))
            for file in expired:
                await rows.delete(file.tenant, file.id)

    async def _forget_uploads(self) -> None:
        """Long after an upload's time is over, whatever became of it, nobody works on it."""
        rows, before = self._metadata.uploads, self._clock.now() - _COMPLETING
        while expired := await rows.expired(before, LIMIT):
            for upload in expired:
                await self._files.delete_prefix(upload_prefix(upload.id))
                await rows.forget(upload.id)

    async def _delete_work(self) -> None:
        while ended := await self._metadata.batches.ended(limit=LIMIT):
            for batch in ended:
                await self._notices.put_down(batch)
                await self._files.delete_prefix(work_prefix(batch.id))
                await self._metadata.batches.swept(batch.id)

    async def _delete_batches(self) -> None:
        await self._retention.enforce()

    async def _forget_records(self) -> None:
        """Of what nobody asks about any more."""
        store, now = self._metadata, self._clock.now()
        for rows, kept in (
            (store.claims, KEPT),
            (store.causes, self._kept.causes + _RARELY),  # for longer than they are refused
            (store.dead_letters, self._kept.dead_letters),
            (store.webhooks, self._kept.deliveries),
        ):
            while await rows.forget(now - kept, LIMIT) == LIMIT:
                pass

    async def _recount(self) -> None:
        """What tenants have, in case two releases at once have counted differently."""
        if not await self._scratch.once("recount", _seconds(self._rules.recount_s)):
            return
        async for tenant in self._metadata.accounts.tenants():
            if await self._metadata.accounts.recount(tenant):
                logger.warning(
                    "An account was wrong and is counted anew",
                    extra={"action": "recount", "tenant_id": tenant},
                )

    async def _delete_leftovers(self) -> None:
        if await self._scratch.once("leftovers", _RARELY):
            await self._files.sweep(self._old())

    async def _delete_orphans(self) -> None:
        if await self._scratch.once("orphans", _SELDOM):
            deleted = await delete_orphans(self._metadata, self._files, self._old())
            logger.info("%d blobs were nobody's", deleted, extra={"action": "orphans"})

    def _old(self) -> datetime:
        """What was written before has no writer any more."""
        return self._clock.now() - _seconds(self._rules.leftovers_s)


def _seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def _reminder(batch: Batch) -> Event:
    """The event that moves a batch on from its state."""
    if batch.status is BatchStatus.VALIDATING:
        return told(EventType.BATCH_CREATED, batch)
    kind = {
        BatchStatus.FINALIZING: EventType.BATCH_EXECUTED,
        BatchStatus.CANCELLING: EventType.BATCH_CANCELLING,
    }[batch.status]
    return fact(kind, batch.id, traceparent=batch.traceparent)
