"""Janitor: one sweep repairs the effects of crashes and lost events.

Each step is idempotent, safe to run twice at once, and independent of the others: one that fails
does not keep the rest from running. The database is authoritative; the queue and the
events are made to agree with it.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from batch_gateway import meters
from batch_gateway.core.errors import Temporary
from batch_gateway.core.events import EventType, internal_event
from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import Batch, LeaseRef
from batch_gateway.ports.clock import Clock
from batch_gateway.services.batches.completion_estimates import CompletionEstimates
from batch_gateway.services.batches.dependents import DependentBatches
from batch_gateway.services.collaborators import EventSenders, Stores
from batch_gateway.services.ended_leases import settle_ended_leases
from batch_gateway.services.maintenance.available_work import AvailableWorkCheck
from batch_gateway.services.maintenance.cleanup import Cleanup, RecordRetention
from batch_gateway.services.maintenance.open_batches import OpenBatchChecks
from batch_gateway.services.maintenance.rebuild import QueueRebuilder, ensure_generation
from batch_gateway.services.maintenance.retention import BatchRetention
from batch_gateway.services.maintenance.sweep_step_runner import LIMIT, StepFailed, SweepStepRunner
from batch_gateway.services.termination import Termination
from batch_gateway.settings import SweepSettings

logger = logging.getLogger(__name__)

_EXPIRED = 5000  # leases of the queue that one sweep checks
_RIGHT = timedelta(seconds=30)  # how long the right to sweep outlives a janitor that has died


class Janitor:
    def __init__(
        self,
        *,
        stores: Stores,
        events: EventSenders,
        termination: Termination,
        clock: Clock,
        available_work: AvailableWorkCheck,
        estimates: CompletionEstimates,
        retention: BatchRetention,
        lease_ttl: timedelta,
        kept: RecordRetention,
        rules: SweepSettings,
    ) -> None:
        self._metadata = stores.metadata
        self._files = stores.files
        self._coordination = stores.coordination
        self._publisher = events.publisher
        self._webhook_outbox = events.webhook_outbox
        self._activation_trigger = events.activation_trigger
        self._termination = termination
        self._clock = clock
        self._available_work = available_work
        self._ttl = lease_ttl
        self._rules = rules
        self._items = SweepStepRunner(clock, _seconds(rules.step_budget_s))
        self._cleanup = Cleanup(
            stores=stores,
            webhook_outbox=events.webhook_outbox,
            clock=clock,
            retention=retention,
            kept=kept,
            items=self._items,
            rules=rules,
        )
        self._missing_shards = QueueRebuilder(stores.metadata, stores.coordination)
        self._open_batch_checks = OpenBatchChecks(
            metadata=stores.metadata,
            coordination=stores.coordination,
            publisher=events.publisher,
            dependents=DependentBatches(stores.metadata.batches, events.publisher),
            estimates=estimates,
            clock=clock,
            items=self._items,
            stuck=_seconds(rules.stuck_s),
        )

    async def sweep(self) -> bool:
        """Run every step once; whether items were left for the next sweep.

        Does nothing while another janitor sweeps. Raises Temporary at the end when a step could
        not be done, or not for all of its items.
        """
        if not await self._first():
            return False
        async with self._alone() as alone:
            if not alone:
                return False
            self._items.begin()
            failed = [_name(step) for step in self._steps() if not await self._run(step)]
        if failed:
            meters.SWEEPS_FAILED.inc()
            raise Temporary(f"sweep could not {', '.join(failed)}")
        meters.SWEEPS_DONE.inc()
        return self._items.left

    def _steps(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return (
            self._send_outbox,
            self._expire_batches,
            self._rebuild_queue,
            self._reclaim_leases,
            self._forget_ended_leases,
            self._close_unreadable_shards,
            self._break_fences,
            self._finalize_stranded,
            self._open_batch_checks.announce_stuck,
            self._open_batch_checks.warn_of_deadlines,
            self._wake,
            self._deliver_webhooks,
            *self._cleanup.steps,
            self._recount,
        )

    async def _first(self) -> bool:
        """Whether no other sweep began just now. Without the coordination store: yes."""
        try:
            return await self._coordination.once("sweep", _seconds(self._rules.interval_s))
        except Temporary:
            return True

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[bool]:
        """Hold the right to sweep; False: another janitor has it.

        Several sweeps at once do no harm, but send every reminder once more. So a janitor that
        cannot reach the coordination store sweeps, and one that loses the right continues.
        """
        me = secrets.token_hex(8)
        try:
            alone = await self._coordination.locks.acquire("sweep", me, _RIGHT)
        except Temporary:
            alone = True
        if not alone:
            yield False
            return
        renewing = asyncio.create_task(self._renew(me))
        try:
            yield True
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            with suppress(Temporary):
                await self._coordination.locks.release("sweep", me)

    async def _renew(self, me: str) -> None:
        while True:
            await asyncio.sleep(_RIGHT.total_seconds() / 3)
            with suppress(Temporary):
                await self._coordination.locks.acquire("sweep", me, _RIGHT)

    async def _run(self, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
        except StepFailed:  # each item is logged already
            failed = True
        except Exception:  # whatever it is, the other steps continue
            logger.exception("A step of the sweep failed", extra={"action": _name(step)})
            failed = True
        else:
            failed = False
        if failed:
            meters.SWEEP_STEPS_FAILED.labels(_name(step)).inc()
        return not failed

    async def _send_outbox(self) -> None:
        before = self._clock.now() - _seconds(self._rules.unsent_s)
        outbox = self._metadata.outbox
        try:
            await self._items.drain(
                "send_outbox",
                lambda limit: outbox.unsent(before=before, limit=limit),
                lambda row: self._publisher.deliver(row.event),
                name=lambda row: row.event.id,
                page=LIMIT,
            )
        except Temporary as error:  # the broker is away, which is no failure of the sweep
            logger.warning("The outbox is not sent: %s", error, extra={"action": "send_outbox"})

    async def _expire_batches(self) -> None:
        await self._of_batches(
            "expire_batches",
            self._metadata.batches.overdue,
            lambda batch: self._termination.expire(batch.id, traceparent=batch.traceparent),
        )

    async def _rebuild_queue(self) -> None:
        """What is ready is queued: a planner may have died between commit and push."""
        if await ensure_generation(self._metadata, self._coordination) is not None:
            await self._missing_shards.push()

    async def _reclaim_leases(self) -> None:
        """Leases in the database that have no heartbeat, unless memory was lost just now."""
        generation = await self._coordination.generation()
        if generation is None or generation[1] <= self._ttl:
            return
        old = self._clock.now() - self._ttl

        async def fetch(limit: int) -> Sequence[LeaseRef]:
            leases = await self._metadata.shards.leased(limit=limit)
            return [ref for ref, since in leases if since < old]

        async def reclaim(ref: LeaseRef) -> None:
            (alive,) = await self._coordination.queue.alive([ref])
            if not alive:
                await self._termination.reclaim_one(ref)

        await self._items.drain(
            "reclaim_leases",
            fetch,
            reclaim,
            name=lambda ref: ref.shard,
            page=LIMIT,
        )

    async def _forget_ended_leases(self) -> None:
        """Leases in the queue that ran out and are over in the database.

        Their holder died after it had ended them there, before it updated the queue.
        """
        queue = self._coordination.queue
        await settle_ended_leases(self._metadata.shards, queue, await queue.expired(_EXPIRED))

    async def _close_unreadable_shards(self) -> None:
        """Those in a state that no release writes, which no executor finds."""
        await self._items.drain(
            "close_unreadable_shards",
            lambda limit: self._metadata.shards.in_unknown_state(limit=limit),
            self._termination.close_unreadable,
            name=str,
            page=LIMIT,
        )

    async def _break_fences(self) -> None:
        """Close the shards of ended batches whose holders do not give them up."""

        async def close(batch: Batch) -> None:
            leases = await self._termination.held(batch.id)
            failed = await self._items.each(
                "break_fences", leases, self._termination.reclaim_one, name=lambda ref: ref.shard
            )
            if failed:
                raise StepFailed(f"{failed} shards of {batch.id} stay open")

        await self._of_batches("break_fences", self._metadata.batches.fenced, close)

    async def _finalize_stranded(self) -> None:
        async def finalize(batch: Batch) -> None:
            event = internal_event(
                EventType.BATCH_EXECUTED, batch.id, traceparent=batch.traceparent
            )
            await self._metadata.batches.finalize(batch.id, now=self._clock.now(), events=[event])

        await self._of_batches("finalize_stranded", self._metadata.batches.stranded, finalize)

    async def _of_batches(
        self,
        step: str,
        fetch: Callable[[int], Awaitable[Sequence[Batch]]],
        handle: Callable[[Batch], Awaitable[object]],
    ) -> None:
        await self._items.drain(step, fetch, handle, name=lambda batch: batch.id, page=LIMIT)

    async def _wake(self) -> None:
        """Backlog without an activation, as far as calendars allow any of it now."""
        if not await self._available_work.has_executors() and await self._available_work.exists():
            await self._activation_trigger.wake()

    async def _deliver_webhooks(self) -> None:
        await self._webhook_outbox.wake_if_due()

    async def _recount(self) -> None:
        """What tenants have, in case two releases at once have counted differently."""
        if not await self._coordination.once("recount", _seconds(self._rules.recount_s)):
            return
        tenants = [tenant async for tenant in self._metadata.accounts.tenants()]
        failed = await self._items.each("recount", tenants, self._recount_one, name=str)
        if failed:
            raise StepFailed(f"the accounts of {failed} tenants are not counted anew")

    async def _recount_one(self, tenant: TenantId) -> None:
        if await self._metadata.accounts.recount(tenant):
            logger.warning(
                "An account was wrong and is counted anew",
                extra={"action": "recount", "tenant_id": tenant},
            )


def _name(step: Callable[[], Awaitable[None]]) -> str:
    return step.__name__.lstrip("_")


def _seconds(number: float) -> timedelta:
    return timedelta(seconds=number)
