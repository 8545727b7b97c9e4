"""All pools of an activation, and the loop that keeps their slots.

A grant outlives its holder's last sync by a few seconds only. Whoever cannot sync for that long
starts nothing and aborts what runs, before others are granted the same slots.

A model's replicas have a pool each, and a holding is in all of them. With every sync routes that
have changed are taken up, and what calendars say by then.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import timedelta

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.limits import Signal
from batch_gateway.core.pace import Hindrance
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.scratch import Slots
from batch_gateway.services.announce import Waker
from batch_gateway.services.execute.aborting import Aborting
from batch_gateway.services.execute.attempt import Attempts
from batch_gateway.services.execute.circuit import Circuits
from batch_gateway.services.execute.holding import Holding
from batch_gateway.services.execute.pool import Pool
from batch_gateway.services.execute.turns import Turns
from batch_gateway.services.execute.waiting import signal_or
from batch_gateway.services.execute.watch import Lookout, Watch
from batch_gateway.services.routing import Route, Routes
from batch_gateway.settings import Execution

logger = logging.getLogger(__name__)

_FULL = 0.9  # of the hard budget: a call cut after so long will not be quicker another time
_WAKE_EVERY_S = 1.0  # a new activation shows in the slots before the next one is asked for


class Pools:
    def __init__(
        self,
        holder: ActivationId,
        *,
        slots: Slots,
        attempts: Attempts,
        routes: Routes,
        circuits: Circuits,
        lookout: Lookout,
        waker: Waker,
        clock: Clock,
        rules: Execution,
        turns: Turns,
        stop_calls_at: float,
        advanced: Callable[[Holding], None],
        memory_lost: Callable[[], Awaitable[None]],
    ) -> None:
        """``memory_lost`` is awaited when the scratch server has no generation."""
        self._holder = holder
        self._slots = slots
        self._attempts = attempts
        self._routes = routes
        self._version = routes.version
        self._circuits = circuits
        self._lookout = lookout
        self._aborting = Aborting(lookout.settings)
        self._waker = waker
        self._clock = clock
        self._rules = rules
        self._turns = turns
        self._stop_calls_at = stop_calls_at
        self._advanced = advanced
        self._memory_lost = memory_lost
        self._pools: dict[str, Pool] = {}
        self._watches: dict[str, tuple[Watch, asyncio.Task[None]]] = {}
        self._suspicious: list[Holding] = []
        self._sync_now = asyncio.Event()
        self._synced_at = asyncio.get_running_loop().time()
        self._woke_at = 0.0

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def add(self, holding: Holding, group: asyncio.TaskGroup) -> bool:
        """Work on ``holding`` by calls in ``group``; a pool that is new asks for slots at once.

        False: nobody serves its model.
        """
        self._group = group
        if not self._attach(holding):
            return False
        self.fill()
        if not any(pool.in_use for pool in self._of(holding)):
            self._sync_now.set()
        return True

    def remove(self, holding: Holding) -> None:
        for pool in self:
            pool.detach(holding)
        if holding in self._suspicious:
            self._suspicious.remove(holding)

    def _attach(self, holding: Holding) -> bool:
        routes = self._routes.routes(holding.lease.shard.model)
        holding.pools = len(routes)
        for route in routes:
            self._pool(route).attach(holding, route)
        if holding.suspicious:
            self._suspicious.append(holding)
        return bool(routes)

    def _pool(self, route: Route) -> Pool:
        if (pool := self._pools.get(route.pool)) is None:
            pool = self._pools[route.pool] = Pool(
                route,
                self._attempts,
                self._circuits.of(route.endpoint),
                self._group,
                self._turns,
                most=self._rules.max_calls,
                stop_calls_at=self._stop_calls_at,
                full_budget_s=_FULL * self._rules.hard_budget_s,
                aborting=self._aborting,
                advanced=self._advanced,
                allowed=self._allowed,
            )
            pool.bound = route.endpoint.bound(self._clock.now())
        return pool

    def _allowed(self, holding: Holding) -> bool:
        """Whether a line of ``holding`` may be started: a suspect has the process for itself."""
        while self._suspicious and not self._suspicious[0].suspicious:
            self._suspicious.pop(0)
        if not self._suspicious:
            return True
        return holding is self._suspicious[0] and not any(pool.calls for pool in self)

    def _of(self, holding: Holding) -> list[Pool]:
        return [pool for pool in self if holding in pool.holdings]

    def fill(self) -> None:
        """Start what can be started; of several pools always in the one with the least load."""
        able = list(self)
        while able:
            pool = min(able, key=lambda one: one.load)
            if not pool.start():
                able.remove(pool)

    def _look_at_routes(self) -> None:
        """Take up routes that have changed, and what calendars say now."""
        if (version := self._routes.version) != self._version:
            self._version = version
            for holding in {holding: None for pool in self for holding in pool.holdings}:
                self.remove(holding)
                if not self._attach(
                    holding
                ):  # nobody serves its model any more: leave it to others
                    holding.stopped = True
                    self._advanced(holding)
            for pool in self:
                pool.circuit = self._circuits.of(pool.route.endpoint)
        at = self._clock.now()
        for pool in self:
            pool.lower(pool.route.endpoint.bound(at))

    def hindrance(self, holding: Holding) -> Hindrance | None:
        """Why no line of ``holding`` is being worked on; None: one is, or could be at once."""
        if holding.running or not holding.left:
            return None
        found = [pool.hindrance for pool in self._of(holding)]
        return None if None in found else next(iter(found), None)

    def stop(self, holding: Holding) -> None:
        """Abort the calls of ``holding``; its lines go back to it."""
        for pool in self:
            pool.abort(holding)

    def close(self) -> None:
        """Start no more calls."""
        for pool in self:
            pool.closed = True

    def abort(self) -> None:
        """Cancel all calls and watches."""
        for pool in self:
            pool.abort()
        for name in list(self._watches):
            self._unwatch(name)

    @property
    def starved(self) -> bool:
        """Nothing runs, and there is no slot to start anything."""
        return bool(self._pools) and all(pool.starved for pool in self)

    @property
    def shut(self) -> list[Holding]:
        """Holdings that no calendar allows a call for now."""
        held = {holding: None for pool in self for holding in pool.holdings}
        return [one for one in held if all(pool.shut for pool in self._of(one))]

    @property
    def at_ease(self) -> bool:
        """Every pool has lines for several rounds of calls."""
        return bool(self._pools) and all(pool.left >= 3 * pool.grant > 0 for pool in self)

    @property
    def hungry(self) -> bool:
        """Some pool could use more lines."""
        return any(pool.hungry for pool in self)

    @property
    def sated(self) -> list[str]:
        """Models that have lines enough for the slots they have."""
        return self._models_but(pool for pool in self if pool.hungry)

    @property
    def sated_with_urgent(self) -> list[str]:
        """Models that have urgent lines enough for the slots they have."""
        return self._models_but(pool for pool in self if pool.hungry_for_urgent)

    def _models_but(self, hungry: Iterable[Pool]) -> list[str]:
        held = {holding.lease.shard.model for pool in self for holding in pool.holdings}
        return sorted(held - {h.lease.shard.model for pool in hungry for h in pool.holdings})

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
        self._look_at_routes()
        await self._leave([pool for pool in self if not pool.holdings and not pool.in_use])
        if not self._pools:
            return
        reports = {name: pool.report(self._news(name)) for name, pool in self._pools.items()}
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
            self._watch(name, mine=grant.watch and self._pools[name].usable)
        self.fill()
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
            self._unwatch(pool.route.pool)
            del self._pools[pool.route.pool]

    def _watch(self, name: str, *, mine: bool) -> None:
        """Watch a pool's engine, as long as that is this activation's part."""
        if not mine:
            self._unwatch(name)
        elif name not in self._watches:
            pool = self._pools[name]
            watch = self._lookout.watch(
                pool.route, urgent=self._sync_now.set, ended=lambda: pool.answered
            )
            self._watches[name] = watch, self._group.create_task(watch.keep())

    def _unwatch(self, name: str) -> None:
        if name in self._watches:
            self._watches.pop(name)[1].cancel()

    def _news(self, name: str) -> Signal | None:
        return self._watches[name][0].take() if name in self._watches else None

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
