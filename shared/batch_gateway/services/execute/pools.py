"""All pools of an activation, and the loop that keeps their slots.

A grant outlives its holder's last sync by a few seconds only. Whoever cannot sync for that long
starts nothing and aborts what runs, before others are granted the same slots.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ActivationId
from batch_gateway.ports.scratch import Slots
from batch_gateway.services.announce import Waker
from batch_gateway.services.execute.attempt import Attempts
from batch_gateway.services.execute.holding import Holding
from batch_gateway.services.execute.pool import Pool
from batch_gateway.services.execute.waiting import signal_or
from batch_gateway.services.routing import Route
from batch_gateway.settings import Execution

logger = logging.getLogger(__name__)

_WAKE_EVERY_S = 1.0  # a new activation shows in the slots before the next one is asked for


class Pools:
    def __init__(
        self,
        holder: ActivationId,
        *,
        slots: Slots,
        attempts: Attempts,
        waker: Waker,
        rules: Execution,
        stop_calls_at: float,
        advanced: Callable[[Holding], None],
        memory_lost: Callable[[], Awaitable[None]],
    ) -> None:
        """``memory_lost`` is awaited when the scratch server has no generation."""
        self._holder = holder
        self._slots = slots
        self._attempts = attempts
        self._waker = waker
        self._rules = rules
        self._stop_calls_at = stop_calls_at
        self._advanced = advanced
        self._memory_lost = memory_lost
        self._pools: dict[str, Pool] = {}
        self._sync_now = asyncio.Event()
        self._synced_at = asyncio.get_running_loop().time()
        self._woke_at = 0.0

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def add(self, holding: Holding, route: Route, group: asyncio.TaskGroup) -> None:
        """Work on ``holding``; a pool that is new asks for slots at once."""
        pool = self._pools.get(route.pool)
        if pool is None:
            pool = self._pools[route.pool] = Pool(
                route,
                self._attempts,
                group,
                most=self._rules.max_calls,
                stop_calls_at=self._stop_calls_at,
                advanced=self._advanced,
            )
        pool.holdings.append(holding)
        pool.fill()
        if pool.in_use == 0:
            self._sync_now.set()

    def remove(self, holding: Holding) -> None:
        for pool in self:
            if holding in pool.holdings:
                pool.holdings.remove(holding)

    def stop(self, holding: Holding) -> None:
        """Abort the calls of ``holding``; its lines go back to it."""
        for pool in self:
            pool.abort(holding)

    def close(self) -> None:
        """Start no more calls."""
        for pool in self:
            pool.closed = True

    def abort(self) -> None:
        for pool in self:
            pool.abort()

    @property
    def starved(self) -> bool:
        """Nothing runs, and there is no slot to start anything."""
        return bool(self._pools) and all(pool.starved for pool in self)

    @property
    def sated(self) -> list[str]:
        """Models that have lines enough for the slots they have."""
        return sorted(
            {h.lease.shard.model for pool in self if not pool.hungry for h in pool.holdings}
        )

    async def keep(self) -> None:
        """Sync until cancelled."""
        while True:
            try:
                await self._sync()
                self._synced_at = asyncio.get_running_loop().time()
            except Temporary as error:
                self._out_of_touch(error)
            await signal_or(self._sync_now, self._rules.slot_sync_s)

    async def _sync(self) -> None:
        await self._leave([pool for pool in self if not pool.holdings and not pool.in_use])
        if not self._pools:
            return
        reports = {name: pool.report() for name, pool in self._pools.items()}
        try:
            grants = await self._slots.sync(
                self._holder, reports, ttl=timedelta(seconds=self._rules.slot_ttl_s)
            )
        except Temporary:
            for name, report in reports.items():
                self._pools[name].unreported(report)
            raise
        for name, grant in grants.items():
            self._pools[name].granted(grant)
        if any(grant.generation is None for grant in grants.values()):
            await self._memory_lost()
        now = asyncio.get_running_loop().time()
        help_wanted = any(grants[name].free > 0 and self._pools[name].full for name in grants)
        if help_wanted and now - self._woke_at > _WAKE_EVERY_S:
            self._woke_at = now
            await self._waker.wake()

    async def _leave(self, pools: Sequence[Pool]) -> None:
        if pools:
            await self._slots.leave(self._holder, [pool.route.pool for pool in pools])
        for pool in pools:
            del self._pools[pool.route.pool]

    def _out_of_touch(self, error: BaseException) -> None:
        silent = asyncio.get_running_loop().time() - self._synced_at
        logger.warning("Slots cannot be synced: %s", error, extra={"action": "slots"})
        if silent + 2 * self._rules.slot_sync_s >= self._rules.slot_ttl_s:
            for pool in self:
                pool.grant = 0
            self.abort()

    async def leave(self) -> None:
        """Give all slots back; they would expire by themselves."""
        try:
            await self._leave(list(self))
        except Temporary as error:
            logger.debug("Slots expire by themselves: %s", error, extra={"action": "slots"})
