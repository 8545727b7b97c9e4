"""One activation: an executor works while its ``work.available`` request is open.

An activation registers, leases shard after shard and keeps the slots granted to it busy. It starts
no call after the soft budget, cancels running calls at the hard budget or some time after SIGTERM,
releases unfinished shards, leaves the register, and starts a successor if there is work left. An
activation without work or slots ends by itself, unless it is the last one while there is backlog.

``components`` has the objects of an activation. Each leased shard has a task of its own
(``shard_supervisor``). The loops beside them are independent: leasing (``lease_loop``), lease
heartbeats (``lease_renewer``), the state of leases in the database and leases of dead executors
(``lease_monitor``), slots several times a second (``pools``), flushing every second, urgency, and
the register. An error ends in the call, the shard or the loop that it belongs to, and never ends
the activation.
"""

import asyncio
import logging
import math
from collections.abc import Iterable

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ActivationId
from batch_gateway.services.event_publisher import PENDING
from batch_gateway.services.execute.collaborators import (
    ExecutorDependencies,
    ProcessResources,
    StopRequests,
)
from batch_gateway.services.execute.components import ActivationComponents
from batch_gateway.services.execute.lease_loop import LeaseLoop, LoopEnd
from batch_gateway.services.execute.leased_shard import ActivationSignals, LeasedShard
from batch_gateway.services.execute.shard_supervisor import TimeBudget
from batch_gateway.services.execute.supervision import keep_running
from batch_gateway.services.execute.takeover import REGISTERED, RENEW, SILENCE
from batch_gateway.services.execute.waiting import signal_or
from batch_gateway.services.task_group import task_group

logger = logging.getLogger(__name__)

_LOOK_S = 0.2  # between two checks of the shards that end
_LAST_RETRIES_S = 15.0  # after the hard budget, to get results stored and leases handed back


class Activation:
    def __init__(
        self,
        me: ActivationId,
        dependencies: ExecutorDependencies,
        *,
        shared: ProcessResources,
        stop_requests: StopRequests,
    ) -> None:
        self._me = me
        self._dependencies = dependencies
        self._coordination = dependencies.stores.coordination
        self._activation_trigger = dependencies.events.activation_trigger
        self._shared = shared
        self._stop_requests = stop_requests
        self._rules = dependencies.policies.execution
        now = asyncio.get_running_loop().time()
        hard_end = now + self._rules.hard_budget_s
        self._budget = TimeBudget(
            soft_end=now + self._rules.soft_budget_s,
            hard_end=hard_end,
            give_up_at=hard_end + _LAST_RETRIES_S,
        )
        self._signals = ActivationSignals()
        self._shards: Iterable[LeasedShard] = ()
        self._end = LoopEnd.OUT_OF_TIME
        self._renew_now = asyncio.Event()
        self._woke_at = -math.inf  # when another activation was requested while this one ends

    @property
    def waiting_result_bytes(self) -> int:
        """Of results that wait to be stored."""
        return sum(shard.results.waiting_bytes for shard in self._shards)

    async def run(self) -> None:
        """Work until there is nothing to do, no slot, or no time; then leave in good order."""
        try:
            async with task_group() as group:
                self._components = self._make_components(group)
                self._shards = self._components.shards
                loops = self._start_loops(group)
                try:
                    self._end = await self._lease_loop().run()
                    await self._wind_down()
                except BaseException:
                    self._components.shards.abandon()  # leases expire
                    raise
                finally:
                    for loop in loops:
                        loop.cancel()
                    self._components.pools.abort()
        finally:
            await self._leave()

    def _make_components(self, group: asyncio.TaskGroup) -> ActivationComponents:
        return ActivationComponents(
            self._me,
            group,
            self._dependencies,
            shared=self._shared,
            signals=self._signals,
            budget=self._budget,
            asked=self._asked,
        )

    def _start_loops(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        parts = self._components
        loops = {
            "lease renewal": parts.renewer.keep,
            "slots": parts.pools.keep,
            "lease watch": parts.lease_monitor.keep,
            "control channel": parts.lease_monitor.listen,
            "reclaim": parts.reclaimer.keep,
            "urgency": self._keep_judging,
            "flush": parts.flusher.keep_flushing,
            "recording": parts.flusher.keep_recording,
            "register": self._keep_registered,
            "ended batches": parts.ended_batches.keep,
        }
        return [group.create_task(keep_running(name, loop)) for name, loop in loops.items()]

    def _lease_loop(self) -> LeaseLoop:
        parts = self._components
        return LeaseLoop(
            self._me,
            coordination=self._coordination,
            selector=parts.selector,
            shards=parts.shards,
            pools=parts.pools,
            throughput=parts.throughput,
            reclaimer=parts.reclaimer,
            budget=self._budget,
            stop_requests=self._stop_requests,
            work=self._signals.work,
            idle_exit_s=self._rules.idle_exit_s,
        )

    # -- loops --------------------------------------------------------------------------------

    async def _keep_judging(self) -> None:
        parts = self._components
        while True:
            try:
                await parts.throughput.judge([shard for shard in parts.shards if shard.held])
            except Temporary as error:
                logger.debug("Urgency is not updated: %s", error, extra={"action": "urgency"})
            await asyncio.sleep(self._rules.heartbeat_s)

    def _asked(self, said: str) -> None:
        """Renew at once when a successor checks whether this activation still runs."""
        if said == self._me:
            self._renew_now.set()

    async def _keep_registered(self) -> None:
        while True:
            await signal_or(self._renew_now, RENEW.total_seconds())
            try:
                dead = await self._coordination.activations.renew(
                    self._me, REGISTERED, silence=SILENCE
                )
                self._components.reclaimer.take_over(dead)
            except Temporary as error:
                logger.debug(
                    "The activation is not registered: %s", error, extra={"action": "register"}
                )

    # -- the end ------------------------------------------------------------------------------

    async def _wind_down(self) -> None:
        """Start nothing more, wait for running calls while there is time, hand everything back."""
        self._components.pools.close()
        for shard in self._components.shards:
            shard.drain()
        end = self._budget.hard_end
        while len(self._components.shards) and self._now() < self._budget.give_up_at:
            if self._stop_requests.stopping.is_set():
                end = min(end, self._now() + self._rules.term_grace_s)
                self._budget.give_up_at = end + _LAST_RETRIES_S
            if self._now() >= end:
                self._components.pools.abort()
            await self._wake_for_backlog()
            await signal_or(self._signals.work, _LOOK_S)
        self._components.shards.abandon()
        await self._components.ended_batches.drain()
        await self._components.renewer.settled()

    async def _wake_for_backlog(self) -> None:
        """Open another activation for work that is queued while this one takes no more.

        Planners do not: to them an activation runs.
        """
        if self._now() < self._woke_at + PENDING.total_seconds():
            return
        try:
            if (await self._coordination.queue.depth()).ready:
                self._woke_at = self._now()
                await self._activation_trigger.wake()
        except Temporary as error:
            logger.debug("The backlog is unknown: %s", error, extra={"action": "wake"})

    async def _leave(self) -> None:
        """Give slots back, leave the register, and only then open a successor if there is work."""
        coordination = self._coordination
        try:
            await self._components.pools.leave()
            await self._components.throughput.report((), at_once=True)
            await coordination.activations.leave(self._me)
            depth = await coordination.queue.depth()
        except Temporary as error:
            logger.warning(
                "The activation ends without a wake-up of the next one: %s",
                error,
                extra={"action": "leave"},
            )
            return
        if self._end is LoopEnd.OUT_OF_TIME and (depth.ready or depth.leased):
            await self._activation_trigger.wake()
        elif depth.ready and self._end is not LoopEnd.FORBIDDEN:
            # it was queued while this activation left
            await self._activation_trigger.wake(first=True)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
