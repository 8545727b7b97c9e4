"""All pools of an activation, and the loop that keeps their slots.

A grant outlives its holder's last sync by a few seconds only. An activation that cannot sync for
that long starts nothing and aborts its calls, before others are granted the same slots.

A model's replicas have a pool each, and a shard is in all of them. With every sync, routes that
have changed are taken up, and what calendars allow by then.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ActivationId, BatchId
from batch_gateway.core.limits import MonitorSignal
from batch_gateway.core.throughput import BlockedReason
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import SlotGrant, SlotReport, Slots
from batch_gateway.ports.routing import ReplicaRoute, RouteProvider
from batch_gateway.services.event_publisher import ActivationTrigger
from batch_gateway.services.execute.collaborators import ProcessResources
from batch_gateway.services.execute.engine_monitor import EngineMonitor
from batch_gateway.services.execute.lease_state import LeaseState
from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.services.execute.pool import SlotPool
from batch_gateway.services.execute.preemption import Preemption
from batch_gateway.services.execute.slot_scheduler import SlotScheduler
from batch_gateway.services.execute.supervision import keep_running, report_unforeseen
from batch_gateway.services.execute.waiting import signal_or
from batch_gateway.settings import ExecutionSettings

logger = logging.getLogger(__name__)

_FULL = 0.9  # of the hard budget: a call cut after so long will not be quicker another time
_SOON_S = 0.02  # shards that are opened meanwhile ask for slots together
_WAKE_EVERY_S = 1.0  # a new activation shows in the slots before the next is requested


class SlotPools:
    def __init__(
        self,
        holder: ActivationId,
        group: asyncio.TaskGroup,
        *,
        slots: Slots,
        shared: ProcessResources,
        routes: RouteProvider,
        activation_trigger: ActivationTrigger,
        clock: Clock,
        rules: ExecutionSettings,
        scheduler: SlotScheduler,
        stop_calls_at: float,
        memory_lost: asyncio.Event,
    ) -> None:
        """Calls run in ``group``. ``memory_lost`` is set when the coordination store has no
        generation."""
        self._holder = holder
        self._group = group
        self._slots = slots
        self._attempts = shared.attempts
        self._routes = routes
        self._version = routes.version
        self._circuits = shared.circuits
        self._engine_monitors = shared.monitors
        self._preemption = Preemption(shared.monitors.settings)
        self._activation_trigger = activation_trigger
        self._clock = clock
        self._rules = rules
        self._scheduler = scheduler
        self._stop_calls_at = stop_calls_at
        self._memory_lost = memory_lost
        self._pools: dict[str, SlotPool] = {}
        self._monitors: dict[str, tuple[EngineMonitor, asyncio.Task[None]]] = {}
        self._refused: set[str] = set()  # models whose endpoints were all unavailable lately
        self._sync_now = asyncio.Event()
        self._sync_soon: asyncio.TimerHandle | None = None  # sets it
        self._synced_at = asyncio.get_running_loop().time()
        self._syncing: asyncio.Future[Mapping[str, SlotGrant]] | None = None  # the last sync
        self._woke_at = 0.0

    def __iter__(self) -> Iterator[SlotPool]:
        return iter(self._pools.values())

    def add(self, shard: LeasedShard) -> bool:
        """Take lines of ``shard`` as soon as it runs. False: no endpoint serves its model."""
        return self._attach(shard)

    def begin(self, shard: LeasedShard) -> None:
        """The lines of ``shard`` can be started. A new pool requests slots at once; a pool whose
        slots are all in use requests more as soon as some are free."""
        self.fill()
        if not any(pool.in_use for pool in self._of(shard)):
            self._sync_now.set()
        elif self._sync_soon is None and any(pool.could_grow for pool in self._of(shard)):
            clock = asyncio.get_running_loop()
            self._sync_soon = clock.call_later(_SOON_S, self._sync_now.set)

    def remove(self, shard: LeasedShard) -> None:
        for pool in self:
            pool.detach(shard)

    def _attach(self, shard: LeasedShard) -> bool:
        routes = self._routes.routes(shard.lease.shard.model)
        shard.pools = len(routes)
        for route in routes:
            self._pool(route).attach(shard, route)
        return bool(routes)

    def _pool(self, route: ReplicaRoute) -> SlotPool:
        if (pool := self._pools.get(route.pool)) is None:
            pool = self._pools[route.pool] = SlotPool(
                route,
                self._attempts,
                self._circuits.of(route.endpoint),
                self._group,
                self._scheduler,
                most=self._rules.max_calls,
                stop_calls_at=self._stop_calls_at,
                full_budget_s=_FULL * self._rules.hard_budget_s,
                preemption=self._preemption,
            )
            pool.bound = route.endpoint.bound(self._clock.now())
        return pool

    def _of(self, shard: LeasedShard) -> list[SlotPool]:
        return [pool for pool in self if shard in pool.shards]

    def _shards(self) -> list[LeasedShard]:
        return list({shard: None for pool in self for shard in pool.shards})

    def fill(self) -> None:
        """Start what can be started; of several pools always in the one with the least load."""
        able = list(self)
        while able:
            pool = min(able, key=lambda one: one.load)
            if not pool.start():
                able.remove(pool)

    def _look_at_routes(self) -> None:
        """Take up routes that have changed, and what calendars allow now."""
        if (version := self._routes.version) != self._version:
            self._version = version
            for shard in self._shards():
                self.remove(shard)
                if not self._attach(shard):  # no endpoint serves its model any more
                    shard.drain()
            for pool in self:
                pool.circuit = self._circuits.of(pool.route.endpoint)
        at = self._clock.now()
        for pool in self:
            pool.lower(pool.route.endpoint.bound(at))

    def stop(self, shard: LeasedShard) -> None:
        """Cancel the calls of ``shard``; its lines go back to it."""
        for pool in self:
            pool.abort(shard)

    def close(self) -> None:
        """Start no more calls."""
        for pool in self:
            pool.closed = True

    def abort(self) -> None:
        """Cancel all calls and monitors."""
        for pool in self:
            pool.abort()
        for name in list(self._monitors):
            self._unwatch(name)

    # -- what can run ---------------------------------------------------------------------------

    def can_run(self, shard: LeasedShard) -> bool:
        """Whether calls of ``shard`` run, or some could start as soon as their turn comes.

        Not so while its endpoints are unavailable or grant no slot, or while all its lines wait
        to be tried again, or when something that it needs is missing in the file store. A shard
        that is still being opened counts as one that can.
        """
        pools = self._of(shard)
        if shard.state is LeaseState.OPENING:
            return not shard.stuck
        if not pools or shard.running:
            return True
        now = asyncio.get_running_loop().time()
        return shard.ready(now) > 0 and any(
            pool.can_run and not pool.circuit.batches.isolated(shard.batch) for pool in pools
        )

    @property
    def cannot_run(self) -> list[str]:
        """Models of shards held here that can start no call at present, and models that were
        refused because their endpoints are unavailable."""
        blocked = {
            shard.lease.shard.model
            for shard in self._shards()
            if not any(pool.can_run for pool in self._of(shard)) and not self._fails(shard)
        }
        self._refused = {model for model in self._refused if self._is_refused(model)}
        return sorted(blocked | self._refused)

    def refuses(self, model: str) -> bool:
        """Whether no shard of ``model`` is leased now: its endpoints are unavailable, and calls of
        held shards detect when they are available again. Calls of a batch that has failed often
        do not count for this: the requests themselves may be the cause."""
        if self._is_refused(model):
            self._refused.add(model)
            return True
        return False

    def _is_refused(self, model: str) -> bool:
        routes = self._routes.routes(model)
        tried = {
            pool.route.endpoint.name
            for pool in self
            if not all(self._fails(shard) for shard in pool.shards)
        }
        return bool(routes) and all(
            not self._circuits.of(route.endpoint).closed and route.endpoint.name in tried
            for route in routes
        )

    def _fails(self, shard: LeasedShard) -> bool:
        """Its endpoints are unavailable, and its batch's own calls have failed often there."""
        now = asyncio.get_running_loop().time()
        circuits = [pool.circuit for pool in self._of(shard)]
        return bool(circuits) and all(
            not circuit.closed and shard.batch in circuit.batches.failing(now)
            for circuit in circuits
        )

    @property
    def failing_batches(self) -> list[BatchId]:
        """Batches of which no further shard is leased beside those held: their calls fail."""
        now = asyncio.get_running_loop().time()
        with_shards = [pool.circuit for pool in self if pool.shards]
        return sorted({batch for circuit in with_shards for batch in circuit.batches.failing(now)})

    def blocked_too_long(self, now: float, seconds: float) -> list[LeasedShard]:
        """Shards to hand back: their endpoints have been unavailable for ``seconds``, none of
        their calls runs, and another held shard detects when the endpoints are available again."""
        found, tried = [], set[str]()
        for shard in sorted(self._shards(), key=lambda shard: (self._fails(shard), -shard.left)):
            pools = self._of(shard)
            if any(pool.circuit.closed for pool in pools):
                shard.blocked_since = None
                continue
            shard.blocked_since = now if shard.blocked_since is None else shard.blocked_since
            endpoints = {pool.route.endpoint.name for pool in pools}
            if endpoints <= tried and not shard.running and now >= shard.blocked_since + seconds:
                self._refused.add(shard.lease.shard.model)
                found.append(shard)
            else:
                tried |= endpoints
        return found

    def blocked_reason(self, shard: LeasedShard) -> BlockedReason | None:
        """Why no line of ``shard`` is being worked on; None: one is, or could be at once."""
        if not shard.left and not shard.running:
            return None
        pools = self._of(shard)
        if pools and all(not pool.circuit.closed for pool in pools):
            return pools[0].blocked_reason  # a trial that runs is no progress
        if pools and all(pool.circuit.batches.isolated(shard.batch) for pool in pools):
            return BlockedReason.WAITING_FOR_MODEL  # it answers other batches only
        if shard.running:
            return None
        found = [pool.blocked_reason for pool in pools]
        return None if None in found else next(iter(found), None)

    def take_models_blocked(self) -> dict[str, BlockedReason | None]:
        """Models of which every endpoint is unavailable, with the reason; None for models of which
        a call was answered since the last time."""
        found: dict[str, BlockedReason | None] = {}
        for model in {shard.lease.shard.model for shard in self._shards()} | self._refused:
            circuits = [self._circuits.of(r.endpoint) for r in self._routes.routes(model)]
            if circuits and not any(circuit.closed for circuit in circuits):
                refused = circuits[0].unauthorized
                found[model] = (
                    BlockedReason.ENDPOINT_UNAUTHORIZED
                    if refused
                    else BlockedReason.WAITING_FOR_MODEL
                )
        for pool in self:
            if pool.take_answered():
                for shard in pool.shards:
                    found.setdefault(shard.lease.shard.model, None)
        return found

    @property
    def have_no_slots(self) -> bool:
        """Nothing runs, and there is no slot to start anything."""
        return bool(self._pools) and all(pool.has_no_slots for pool in self)

    @property
    def forbidden(self) -> list[LeasedShard]:
        """Shards that no calendar allows a call for now."""
        return [one for one in self._shards() if all(pool.shut for pool in self._of(one))]

    @property
    def have_plenty(self) -> bool:
        """Every pool has lines for several rounds of calls."""
        return bool(self._pools) and all(pool.left >= 3 * pool.grant > 0 for pool in self)

    @property
    def rounds_ahead(self) -> int:
        """Rounds of calls that lines are needed for where calls are shortest."""
        return max((int(pool.outcomes.rounds_ahead) for pool in self), default=1)

    @property
    def need_work(self) -> bool:
        """Some pool could use more lines."""
        return any(pool.needs_work for pool in self)

    @property
    def has_enough_work(self) -> list[str]:
        """Models that have lines enough for the slots they have."""
        return self._models_but(pool for pool in self if pool.needs_work)

    @property
    def has_enough_urgent_work(self) -> list[str]:
        """Models that have urgent lines enough for the slots they have."""
        return self._models_but(pool for pool in self if pool.needs_urgent_work)

    def _models_but(self, needing: Iterable[SlotPool]) -> list[str]:
        held = {shard.lease.shard.model for shard in self._shards()}
        return sorted(held - {s.lease.shard.model for pool in needing for s in pool.shards})

    # -- slots ----------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Sync until cancelled."""
        while True:
            try:
                await self._sync()
                self._synced_at = asyncio.get_running_loop().time()
            except Temporary as error:
                self._out_of_touch(error)
            except Exception as error:  # noqa: BLE001 - belongs to one part
                report_unforeseen("slots", "Slots cannot be synced")
                self._out_of_touch(error)
                await asyncio.sleep(self._rules.slot_sync_s)
            await signal_or(self._sync_now, self._rules.slot_sync_s)

    async def _sync(self) -> None:
        self._look_at_routes()
        if self._sync_soon is not None:
            self._sync_soon.cancel()
            self._sync_soon = None
        await self._leave([pool for pool in self if not pool.shards and not pool.in_use])
        if not self._pools:
            return
        pools = dict(self._pools)  # shards may bring new ones meanwhile
        reports = {name: pool.report(self._news(name)) for name, pool in pools.items()}
        asked_at = asyncio.get_running_loop().time()
        try:
            grants = await self._report(reports)
        except BaseException:
            for name, report in reports.items():
                pools[name].unreported(report)
            raise
        for name, grant in grants.items():
            pools[name].granted(grant, reports[name], asked_at - self._rules.slot_sync_s)
            self._watch(name, mine=grant.watch and pools[name].usable)
        self.fill()
        if any(grant.generation is None for grant in grants.values()):
            self._memory_lost.set()
        now = asyncio.get_running_loop().time()
        help_wanted = any(
            grant.free > 0 and pools[name].usable and reports[name].want >= self._rules.max_calls
            for name, grant in grants.items()
        )
        if help_wanted and now - self._woke_at > _WAKE_EVERY_S:
            self._woke_at = now
            await self._activation_trigger.wake()

    async def _report(self, reports: Mapping[str, SlotReport]) -> Mapping[str, SlotGrant]:
        """A sync that is cancelled here may still be carried out by the server: ``leave`` waits."""
        ttl = timedelta(seconds=self._rules.slot_ttl_s)
        self._syncing = asyncio.ensure_future(self._slots.sync(self._holder, reports, ttl=ttl))
        return await asyncio.shield(self._syncing)

    async def _leave(self, pools: Sequence[SlotPool]) -> None:
        """Give up the slots of ``pools``. They are gone from here first, so a shard that arrives
        meanwhile gets a pool of its own, which the next sync registers anew."""
        names = [pool.route.pool for pool in pools]
        for name in names:
            self._unwatch(name)
            del self._pools[name]
        if names:
            await self._slots.leave(self._holder, names)

    def _watch(self, name: str, *, mine: bool) -> None:
        """Monitor a pool's engine, as long as that is this activation's part."""
        if not mine:
            self._unwatch(name)
        elif name not in self._monitors:
            pool = self._pools[name]
            monitor = self._engine_monitors.monitor(
                pool.route, urgent=self._sync_now.set, calls=lambda: pool.own_calls
            )
            task = self._group.create_task(keep_running("engine monitor", monitor.keep))
            self._monitors[name] = monitor, task

    def _unwatch(self, name: str) -> None:
        if name in self._monitors:
            self._monitors.pop(name)[1].cancel()

    def _news(self, name: str) -> MonitorSignal | None:
        return self._monitors[name][0].take() if name in self._monitors else None

    def _out_of_touch(self, error: BaseException) -> None:
        silent = asyncio.get_running_loop().time() - self._synced_at
        logger.warning("Slots cannot be synced: %s", error, extra={"action": "slots"})
        if silent + 2 * self._rules.slot_sync_s >= self._rules.slot_ttl_s:
            for pool in self:
                pool.grant = 0
            self.abort()

    async def leave(self) -> None:
        """Give all slots back; they would expire by themselves."""
        if self._syncing is not None:
            await asyncio.gather(self._syncing, return_exceptions=True)
        try:
            await self._leave(list(self))
        except Temporary as error:
            logger.debug("Slots expire by themselves: %s", error, extra={"action": "slots"})
