"""One open ``work.available`` request: as long as it is open, the executor works.

An activation registers, leases shard after shard and keeps the slots granted to it busy. It
starts no call after the soft budget, gives up running calls at the hard budget or some time after
SIGTERM, hands back what is unfinished, leaves the register, and opens a successor if there is
work left. One without work or slots ends by itself, unless it is the last while there is backlog:
that one stays as the pilot.

Beside the leasing, three loops keep it alive: slots (several times a second, ``pools``), flushing
(every second) and heartbeats (every few seconds, or at once when the control channel says that a
batch has changed, ``heartbeat``).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from batch_gateway.core.errors import BatchGatewayError, Temporary
from batch_gateway.core.ids import ActivationId
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.scratch import Scratch
from batch_gateway.ports.shards import Standing
from batch_gateway.services.announce import Waker
from batch_gateway.services.endings import Endings
from batch_gateway.services.execute.attempt import Attempts
from batch_gateway.services.execute.circuit import Circuits
from batch_gateway.services.execute.custody import Custody
from batch_gateway.services.execute.heartbeat import Heartbeat
from batch_gateway.services.execute.holding import Holding
from batch_gateway.services.execute.leasing import Leasing
from batch_gateway.services.execute.pacing import Pacing
from batch_gateway.services.execute.pools import Pools
from batch_gateway.services.execute.turns import Turns
from batch_gateway.services.execute.waiting import signal_or
from batch_gateway.services.execute.watch import Lookout
from batch_gateway.services.groups import tasks
from batch_gateway.services.routing import Routes
from batch_gateway.services.upkeep.rebuild import ensure_generation
from batch_gateway.settings import Execution, Queue

logger = logging.getLogger(__name__)

REGISTERED = timedelta(seconds=5)  # how long a dead activation stays in the register
_RENEW_S = 2.0  # how often a living one says so
_LOOK_S = 0.2  # between two looks when nothing happens
_CALM_LOOK_S = 0.5  # the same, with lines for several rounds of calls in hand
_EMPTY_S = 0.05  # after an empty queue, however much happens
_RETRY_S = 0.5  # after a server did not answer
_LAST_RETRIES_S = 15.0  # after the hard budget, to get results stored and leases back


class Activation:
    def __init__(
        self,
        me: ActivationId,
        *,
        metadata: MetadataStore,
        scratch: Scratch,
        custody: Custody,
        attempts: Attempts,
        routes: Routes,
        circuits: Circuits,
        lookout: Lookout,
        waker: Waker,
        endings: Endings,
        clock: Clock,
        rules: Execution,
        queue_rules: Queue,
        stopping: asyncio.Event,
    ) -> None:
        """``stopping`` is set when the process has been asked to end."""
        now = asyncio.get_running_loop().time()
        self._me = me
        self._metadata = metadata
        self._scratch = scratch
        self._custody = custody
        self._waker = waker
        self._endings = endings
        self._clock = clock
        self._rules = rules
        self._stopping = stopping
        self._soft_end = now + rules.soft_budget_s
        self._hard_end = now + rules.hard_budget_s
        self._give_up_at = self._hard_end + _LAST_RETRIES_S
        self._crashed = False
        self._successor = True  # wanted when there is backlog at the end
        self._idle_since: float | None = None
        self._holdings: list[Holding] = []
        self._changed = asyncio.Event()
        self._flush_now = asyncio.Event()
        self._pools = Pools(
            me,
            slots=scratch.slots,
            attempts=attempts,
            routes=routes,
            circuits=circuits,
            lookout=lookout,
            waker=waker,
            clock=clock,
            rules=rules,
            turns=Turns(queue_rules),
            stop_calls_at=self._hard_end,
            advanced=self._advanced,
            memory_lost=self._memory_lost,
        )
        self._leasing = Leasing(
            custody=custody,
            queue=scratch.queue,
            pools=self._pools,
            routes=routes,
            clock=clock,
            rules=rules,
            queue_rules=queue_rules,
        )
        self._pacing = Pacing(
            me,
            scratch=scratch,
            clock=clock,
            execution=rules,
            rules=queue_rules,
            hindrance_of=self._pools.hindrance,
        )
        self._heartbeat = Heartbeat(
            metadata=metadata,
            scratch=scratch,
            endings=endings,
            rules=rules,
            holdings=lambda: self._holdings,
            learned=self._learned,
            pacing=self._pacing,
        )

    async def run(self) -> None:
        """Work until there is nothing to do, no slot, or no time; then leave in good order."""
        try:
            async with tasks() as self._group:
                loops = [
                    self._group.create_task(loop)
                    for loop in (
                        self._pools.keep(),
                        self._heartbeat.keep(),
                        self._heartbeat.listen(),
                        self._keep_flushing(),
                        self._keep_registered(),
                    )
                ]
                try:
                    await self._work()
                    await self._wind_down()
                except BaseException:
                    self._crashed = True  # nothing is handed back: leases run out
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
            self._stop_overdue()
            try:
                if await self._lease_one():
                    continue
                if await self._may_end():
                    self._successor = False
                    return
            except Temporary as error:
                logger.warning("Waiting for a server: %s", error, extra={"action": "lease"})
                await asyncio.sleep(_RETRY_S)
            await asyncio.sleep(_EMPTY_S)
            await signal_or(self._changed, _CALM_LOOK_S if self._pools.at_ease else _LOOK_S)

    def _out_of_time(self) -> bool:
        return self._stopping.is_set() or asyncio.get_running_loop().time() >= self._soft_end

    async def _lease_one(self) -> bool:
        """Lease a shard and work on it; False when no more need be tried now.

        That is when there was none, or when there are lines enough and the shard is of a tenant
        of whom we had some already.
        """
        if not self._holdings and await self._generation_age() is None:
            return False  # somebody is filling the queue again
        tenants = {holding.lease.tenant for holding in self._holdings}
        holding = await self._leasing.next(self._holdings)
        if holding is None:
            return False
        self._idle_since = None
        self._holdings.append(holding)
        if not self._pools.add(holding, self._group):
            holding.stopped = True  # routes changed since it was planned: leave it to others
        await self._pacing.report(self._holdings, at_once=True)  # it is in no queue any more
        self._advanced(holding)
        if holding.suspicious:
            for other in self._holdings:
                if other is not holding:  # to be worked on elsewhere meanwhile
                    other.stopped = True
                    self._advanced(other)
        return self._pools.hungry or holding.lease.tenant not in tenants

    def _stop_overdue(self) -> None:
        now = asyncio.get_running_loop().time()
        for holding in self._holdings:
            if now >= holding.stop_at and not holding.closing:
                self._stop(holding)
        for holding in self._pools.shut:
            if not holding.stopped:
                self._stop(holding)

    async def _may_end(self) -> bool:
        """Whether nothing is left for this activation: no backlog, or no slots for a while."""
        if self._holdings and not self._pools.starved:
            self._idle_since = None
            return False
        now = asyncio.get_running_loop().time()
        self._idle_since = self._idle_since or now
        depth = None
        if not self._holdings:
            if await self._generation_age() is None:
                return False
            depth = await self._scratch.queue.depth()
            if not (depth.ready or depth.leased or depth.reserved):
                return True
        if now - self._idle_since < self._rules.idle_exit_s:
            return False
        if self._leasing.shut_out and depth and not (depth.leased or depth.reserved):
            return True  # the janitor wakes one when a calendar allows it
        return await self._scratch.activations.leave_unless_last(self._me)

    # -- what happens to holdings -------------------------------------------------------------

    def _advanced(self, holding: Holding) -> None:
        """A holding has changed: close it when it is finished, or stopped and at rest."""
        if holding.buffered >= self._rules.flush_results or holding.to_note():
            self._flush_now.set()
        if holding.closing or self._crashed:
            return
        if holding.finished:
            self._close(holding, self._custody.finish)
        elif holding.stopped and not holding.running:
            self._close(holding, self._hand_back)
        if not holding.left and self._pools.hungry:
            self._changed.set()

    def _learned(self, holding: Holding, standing: Standing) -> None:
        """How a lease stands in the database."""
        if not standing.held:
            logger.warning(
                "A lease was lost", extra={"action": "lost", "shard_id": holding.lease.shard.id}
            )
            holding.closing = True
            holding.stopped = True
            self._pools.stop(holding)
            self._drop(holding)
        elif standing.ending:
            self._stop(holding)
        elif standing.paused:
            holding.stopped = True
            self._advanced(holding)
        elif standing.deadline != holding.deadline:
            moved = (standing.deadline - holding.deadline).total_seconds()
            holding.deadline = standing.deadline
            holding.stop_at += moved

    def _stop(self, holding: Holding) -> None:
        """Abort the calls of a holding; it is handed back when they have ended."""
        holding.stopped = True
        self._pools.stop(holding)
        self._advanced(holding)

    def _close(self, holding: Holding, how: Callable[[Holding], Awaitable[None]]) -> None:
        holding.closing = True
        self._group.create_task(self._close_by(holding, how))

    async def _close_by(self, holding: Holding, how: Callable[[Holding], Awaitable[None]]) -> None:
        """Finish or hand back, again and again while a server does not answer.

        When it cannot be done in time, the lease runs out and another takes over.
        """
        log = {"action": "close", "shard_id": holding.lease.shard.id}
        try:
            while True:
                try:
                    return await how(holding)
                except Temporary as error:
                    logger.warning("A shard cannot be closed yet: %s", error, extra=log)
                if asyncio.get_running_loop().time() >= self._give_up_at:
                    return None
                await asyncio.sleep(_RETRY_S)
        except BatchGatewayError:
            logger.exception("A shard cannot be closed", extra=log)
        finally:
            self._drop(holding)

    async def _hand_back(self, holding: Holding) -> None:
        if self._clock.now() >= holding.deadline:
            await self._endings.expire(holding.lease.shard.batch)
        await self._custody.hand_back(holding)

    def _drop(self, holding: Holding) -> None:
        self._pacing.count(holding)
        self._pools.remove(holding)
        if holding in self._holdings:
            self._holdings.remove(holding)
        self._changed.set()

    # -- loops --------------------------------------------------------------------------------

    async def _keep_flushing(self) -> None:
        while True:
            await signal_or(self._flush_now, self._rules.flush_interval_s)
            for holding in list(self._holdings):
                if (holding.buffered or holding.to_note()) and not holding.closing:
                    await self._custody.flush(holding)
                    self._pools.fill()
            await self._pacing.report(self._holdings)

    async def _keep_registered(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            try:
                await self._scratch.activations.renew(self._me, REGISTERED)
            except Temporary as error:
                logger.debug("Not registered now: %s", error, extra={"action": "register"})

    async def _memory_lost(self) -> None:
        await self._generation_age()

    async def _generation_age(self) -> timedelta | None:
        """Age of the queue's memory, made good if it was lost; None while another does so."""
        return await ensure_generation(self._metadata, self._scratch)

    # -- the end ------------------------------------------------------------------------------

    async def _wind_down(self) -> None:
        """Start nothing more, wait for running calls while there is time, hand everything back."""
        loop = asyncio.get_running_loop()
        self._pools.close()
        for holding in list(self._holdings):
            holding.stopped = True
            self._advanced(holding)
        end = self._hard_end
        while self._holdings and loop.time() < self._give_up_at:
            if self._stopping.is_set():
                end = min(end, loop.time() + self._rules.term_grace_s)
                self._give_up_at = end + _LAST_RETRIES_S
            if loop.time() >= end:
                self._pools.abort()
            await signal_or(self._changed, _LOOK_S)

    async def _leave(self) -> None:
        """Give slots back, leave the register, and only then open a successor if there is work."""
        try:
            await self._pools.leave()
            await self._pacing.report((), at_once=True)
            await self._scratch.activations.leave(self._me)
            depth = await self._scratch.queue.depth()
        except Temporary as error:
            logger.warning("Left without a successor: %s", error, extra={"action": "leave"})
            return
        if self._successor and (depth.ready or depth.leased):
            await self._waker.wake()
