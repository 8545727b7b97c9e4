"""One activation: an executor works while its ``work.available`` request is open.

An activation registers, leases shard after shard and keeps the slots granted to it busy. It starts
no call after the soft budget, cancels running calls at the hard budget or some time after SIGTERM,
hands back what is unfinished, leaves the register, and opens a successor if there is work left. An
activation without work or slots ends by itself, unless it is the last one while there is backlog.

Each leased shard has a task of its own (``shard_supervisor``). Beside the leasing run the loops
that keep the activation alive, each on its own: lease heartbeats (``lease_renewer``), what the
database says of leases and the leases of dead executors (``lease_watch``), slots several times a
second (``pools``), flushing every second, urgency, and the register. An error ends in the call, the
shard or the loop that it belongs to, and never ends the activation.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ActivationId
from batch_gateway.services.assemble.single_shard import EndedBatches, SingleShardBatches
from batch_gateway.services.event_publisher import PENDING
from batch_gateway.services.execute.attempt import ModelCaller
from batch_gateway.services.execute.circuit import Circuits
from batch_gateway.services.execute.collaborators import Engines, Events, Policies, Stores
from batch_gateway.services.execute.engine_monitor import EngineMonitors
from batch_gateway.services.execute.lease_monitor import LeaseMonitor, LeaseReclaimer
from batch_gateway.services.execute.lease_renewer import LeaseRenewer
from batch_gateway.services.execute.leased_shard import LeasedShard, Signals
from batch_gateway.services.execute.pools import Pools
from batch_gateway.services.execute.result_flusher import ResultFlusher
from batch_gateway.services.execute.shard_leases import ShardLeases
from batch_gateway.services.execute.shard_opener import log
from batch_gateway.services.execute.shard_selector import SMALL, ShardSelector
from batch_gateway.services.execute.shard_supervisor import ShardSupervisor, TimeBudget
from batch_gateway.services.execute.slot_scheduler import SlotScheduler
from batch_gateway.services.execute.supervision import keep_running, report_unforeseen
from batch_gateway.services.execute.takeover import REGISTERED, RENEW, SILENCE, Takeover
from batch_gateway.services.execute.throughput import ThroughputReporter
from batch_gateway.services.execute.waiting import signal_or
from batch_gateway.services.progress_events import BatchObserver
from batch_gateway.services.task_group import task_group

logger = logging.getLogger(__name__)

_LOOK_S = 0.2  # between two looks when nothing happens
_PLENTY_LOOK_S = 0.5  # the same, with lines for several rounds of calls
_EMPTY_S = 0.05  # after an empty queue, however much happens
_RETRY_S = 0.5  # after a server did not answer
_BLOCKED_S = 2.0  # after this, shards whose endpoints are unavailable are handed back
_LAST_RETRIES_S = 15.0  # after the hard budget, to get results stored and leases handed back
_SIDE_BY_SIDE = 8  # small shards that are leased at once


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessResources:
    """What the activations of one process share."""

    attempts: ModelCaller
    circuits: Circuits
    monitors: EngineMonitors
    watches: BatchObserver  # look at a batch when results of it were stored


class Activation:
    def __init__(
        self,
        me: ActivationId,
        *,
        stores: Stores,
        engines: Engines,
        events: Events,
        policies: Policies,
        shared: ProcessResources,
        stopping: asyncio.Event,
        superseded: asyncio.Event,
    ) -> None:
        """``stopping`` is set when the process has been asked to end, ``superseded`` when its
        configuration is old: then no shard is leased any more, and calls in flight end as they
        would at the soft end of the budget.
        """
        self._me = me
        self._stores = stores
        self._engines = engines
        self._events = events
        self._policies = policies
        self._shared = shared
        self._stopping = stopping
        self._superseded = superseded
        self._rules = policies.execution
        now = asyncio.get_running_loop().time()
        hard_end = now + self._rules.hard_budget_s
        self._budget = TimeBudget(
            soft_end=now + self._rules.soft_budget_s,
            hard_end=hard_end,
            give_up_at=hard_end + _LAST_RETRIES_S,
        )
        self._signals = Signals()
        self._successor = True  # wanted when there is backlog at the end
        self._forbidden = False  # whether it ended because calendars forbid all the backlog
        self._idle_since: float | None = None
        self._small_in_a_row = 0  # shards of few lines that were leased, and no other since
        self._renew_now = asyncio.Event()
        self._woke_at = -math.inf  # when another activation was asked for while this one ends
        self._hold_leases()

    def _hold_leases(self) -> None:
        """Make the parts that acquire, renew and end leases."""
        me, stores, events, policies = self._me, self._stores, self._events, self._policies
        ttl = timedelta(seconds=self._rules.lease_ttl_s)
        self._ended = EndedBatches(
            metadata=stores.metadata,
            files=stores.files,
            scratch=stores.scratch,
            publisher=events.publisher,
            webhook_outbox=events.webhook_outbox,
        )
        self._leases = ShardLeases(
            me,
            rows=stores.metadata.shards,
            files=stores.files,
            scratch=stores.scratch,
            publisher=events.publisher,
            header_passthrough=self._engines.header_passthrough,
            watch=self._shared.watches,
            clock=policies.clock,
            rules=self._rules,
            single_shards=SingleShardBatches(
                metadata=stores.metadata,
                files=stores.files,
                clock=policies.clock,
                default_expiry=policies.output_expiry,
                most_bytes=self._rules.complete_bytes,
                ended=self._ended,
            ),
        )
        self._renewer = LeaseRenewer(stores.scratch.queue, ttl=ttl, every_s=self._rules.heartbeat_s)
        self._reclaimer = LeaseReclaimer(
            metadata=stores.metadata,
            scratch=stores.scratch,
            termination=events.termination,
            takeover=Takeover(stores.metadata, stores.scratch, events.termination),
            every_s=self._rules.heartbeat_s,
            ttl=ttl,
        )

    def _assemble(self, group: asyncio.TaskGroup) -> None:
        """Make the parts whose tasks run in ``group``."""
        stores, policies = self._stores, self._policies
        self._pools = Pools(
            self._me,
            group,
            slots=stores.scratch.slots,
            attempts=self._shared.attempts,
            routes=self._engines.routes,
            circuits=self._shared.circuits,
            monitors=self._shared.monitors,
            activation_trigger=self._events.activation_trigger,
            clock=policies.clock,
            rules=self._rules,
            scheduler=SlotScheduler(policies.queue),
            stop_calls_at=self._budget.hard_end,
            memory_lost=self._reclaimer.look_now,
        )
        self._throughput = ThroughputReporter(
            self._me,
            scratch=stores.scratch,
            clock=policies.clock,
            execution=self._rules,
            rules=policies.queue,
            blocked_reason_of=self._pools.blocked_reason,
            models_blocked=self._pools.take_models_blocked,
        )
        self._shards = ShardSupervisor(
            group,
            leases=self._leases,
            renewer=self._renewer,
            pools=self._pools,
            throughput=self._throughput,
            termination=self._events.termination,
            signals=self._signals,
            budget=self._budget,
            rules=self._rules,
            spans=policies.spans,
        )
        self._flusher = ResultFlusher(
            self._shards,
            leases=self._leases,
            pools=self._pools,
            throughput=self._throughput,
            flush_now=self._signals.flush,
            every_s=self._rules.flush_interval_s,
        )
        self._selector = ShardSelector(
            leases=self._leases,
            queue=stores.scratch.queue,
            pools=self._pools,
            routes=self._engines.routes,
            clock=policies.clock,
            rules=self._rules,
            queue_rules=policies.queue,
        )
        self._watch = LeaseMonitor(
            rows=stores.metadata.shards,
            scratch=stores.scratch,
            every_s=self._rules.heartbeat_s,
            held=lambda: self._shards.held,
            stop=self._pools.stop,
            asked=self._asked,
        )

    async def run(self) -> None:
        """Work until there is nothing to do, no slot, or no time; then leave in good order."""
        try:
            async with task_group() as group:
                self._assemble(group)
                loops = [
                    group.create_task(keep_running(name, loop))
                    for name, loop in {
                        "lease renewal": self._renewer.keep,
                        "slots": self._pools.keep,
                        "lease watch": self._watch.keep,
                        "control channel": self._watch.listen,
                        "reclaim": self._reclaimer.keep,
                        "urgency": self._keep_judging,
                        "flush": self._flusher.keep_flushing,
                        "recording": self._flusher.keep_recording,
                        "register": self._keep_registered,
                        "ended batches": self._ended.keep,
                    }.items()
                ]
                try:
                    await self._work()
                    await self._wind_down()
                except BaseException:
                    self._shards.abandon()  # leases expire
                    raise
                finally:
                    for loop in loops:
                        loop.cancel()
                    self._pools.abort()
        finally:
            await self._leave()

    # -- work ---------------------------------------------------------------------------------

    async def _work(self) -> None:
        while not self._out_of_time():
            try:
                self._stop_overdue()
                if await self._lease_more():
                    continue
                if await self._may_end():
                    self._successor = False
                    return
            except Temporary as error:
                logger.warning("Waiting for a server: %s", error, extra={"action": "lease"})
                await asyncio.sleep(_RETRY_S)
            except Exception:  # noqa: BLE001 - belongs to one part
                report_unforeseen("lease", "A shard could not be leased")
                await asyncio.sleep(_RETRY_S)
            await asyncio.sleep(_EMPTY_S)
            await signal_or(
                self._signals.work, _PLENTY_LOOK_S if self._pools.have_plenty else _LOOK_S
            )

    def _out_of_time(self) -> bool:
        return (
            self._stopping.is_set()
            or self._superseded.is_set()
            or self._now() >= self._budget.soft_end
        )

    async def _lease_more(self) -> bool:
        """Lease shards and work on them; False when no more need be tried now.

        That is when there were none, or when there are lines enough and the activation held a shard
        of the same tenant already. Behind small shards as many more are leased side by side: one
        after the other, their transactions would take longer than their calls.
        """
        held = self._shards.held
        if not held and await self._reclaimer.generation_age() is None:
            return False  # the queue is being rebuilt
        at_once = min(max(1, self._small_in_a_row), _SIDE_BY_SIDE)
        found = await asyncio.gather(
            *(self._lease_one(held) for _ in range(at_once)), return_exceptions=True
        )
        if any(leased is not None for leased in found if not isinstance(leased, BaseException)):
            await self._throughput.report(self._shards.held, at_once=True)  # they left the queue
        for error in found:
            if isinstance(error, BaseException):
                raise error
        return all(leased is True for leased in found)

    async def _lease_one(self, held: Sequence[LeasedShard]) -> bool | None:
        """Whether one more shard should be leased behind this one; None: there was none."""
        tenants = {shard.lease.tenant for shard in held}
        claimed = await self._selector.next(held)
        if claimed is None:
            self._small_in_a_row = 0
            return None
        small = claimed.lease.shard.lines <= SMALL
        self._small_in_a_row = self._small_in_a_row + 1 if small else 0
        self._idle_since = None
        self._shards.start(claimed)
        return self._pools.need_work or claimed.lease.tenant not in tenants

    def _stop_overdue(self) -> None:
        """Hand back what may not or cannot go on here."""
        now = self._now()
        for shard in self._shards:
            if now >= shard.stop_at:
                self._shards.stop(shard)
        for shard in self._pools.forbidden:
            self._shards.stop(shard)
        for shard in self._pools.blocked_too_long(now, _BLOCKED_S):
            logger.info("Shard released: its endpoint is unavailable", extra=log(shard))
            shard.drain()

    async def _may_end(self) -> bool:
        """Whether nothing is left for this activation: no backlog, or no slots for a while."""
        if len(self._shards) and not self._pools.have_no_slots:
            self._idle_since = None
            return False
        now = self._now()
        self._idle_since = self._idle_since or now
        depth = None
        if not len(self._shards):
            if await self._reclaimer.generation_age() is None:
                return False
            depth = await self._stores.scratch.queue.depth()
            if not (depth.ready or depth.leased or depth.reserved):
                return True
        if now - self._idle_since < self._rules.idle_exit_s:
            return False
        if self._selector.only_forbidden and depth and not (depth.leased or depth.reserved):
            self._forbidden = True
            return True  # the janitor wakes one when a calendar allows it
        return await self._stores.scratch.activations.leave_unless_last(self._me)

    # -- loops --------------------------------------------------------------------------------

    async def _keep_judging(self) -> None:
        while True:
            try:
                await self._throughput.judge([shard for shard in self._shards if shard.held])
            except Temporary as error:
                logger.debug("Urgency is not updated: %s", error, extra={"action": "urgency"})
            await asyncio.sleep(self._rules.heartbeat_s)

    def _asked(self, said: str) -> None:
        """Renew at once when a successor asks whether this activation lives."""
        if said == self._me:
            self._renew_now.set()

    async def _keep_registered(self) -> None:
        while True:
            await signal_or(self._renew_now, RENEW.total_seconds())
            try:
                dead = await self._stores.scratch.activations.renew(
                    self._me, REGISTERED, silence=SILENCE
                )
                self._reclaimer.take_over(dead)
            except Temporary as error:
                logger.debug(
                    "The activation is not registered: %s", error, extra={"action": "register"}
                )

    # -- the end ------------------------------------------------------------------------------

    async def _wind_down(self) -> None:
        """Start nothing more, wait for running calls while there is time, hand everything back."""
        self._pools.close()
        for shard in self._shards:
            shard.drain()
        end = self._budget.hard_end
        while len(self._shards) and self._now() < self._budget.give_up_at:
            if self._stopping.is_set():
                end = min(end, self._now() + self._rules.term_grace_s)
                self._budget.give_up_at = end + _LAST_RETRIES_S
            if self._now() >= end:
                self._pools.abort()
            await self._wake_for_backlog()
            await signal_or(self._signals.work, _LOOK_S)
        self._shards.abandon()
        await self._ended.drain()

    async def _wake_for_backlog(self) -> None:
        """Open another activation for work that is queued while this one takes no more.

        Planners do not: to them an activation runs.
        """
        if self._now() < self._woke_at + PENDING.total_seconds():
            return
        try:
            if (await self._stores.scratch.queue.depth()).ready:
                self._woke_at = self._now()
                await self._events.activation_trigger.wake()
        except Temporary as error:
            logger.debug("The backlog is unknown: %s", error, extra={"action": "wake"})

    async def _leave(self) -> None:
        """Give slots back, leave the register, and only then open a successor if there is work."""
        scratch = self._stores.scratch
        try:
            await self._pools.leave()
            await self._throughput.report((), at_once=True)
            await scratch.activations.leave(self._me)
            depth = await scratch.queue.depth()
        except Temporary as error:
            logger.warning(
                "The activation ends without a wake-up of the next one: %s",
                error,
                extra={"action": "leave"},
            )
            return
        if self._successor and (depth.ready or depth.leased):
            await self._events.activation_trigger.wake()
        elif depth.ready and not self._forbidden:  # it was queued while this activation left
            await self._events.activation_trigger.wake(first=True)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
