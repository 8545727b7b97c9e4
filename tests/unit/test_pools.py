"""Pools of an activation while something comes in between: a shard, or a cancellation."""

import asyncio
import math
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from unit.test_leased_shard import leased

from batch_gateway.core.ids import ActivationId
from batch_gateway.ports.coordination import SlotGrant
from batch_gateway.ports.model_client import CallFailed, ModelResponse
from batch_gateway.services.execute.attempt import ModelCaller
from batch_gateway.services.execute.circuit import EndpointCircuits
from batch_gateway.services.execute.collaborators import ProcessResources
from batch_gateway.services.execute.engine_monitor import EngineMonitors
from batch_gateway.services.execute.pools import SlotPools
from batch_gateway.services.execute.slot_scheduler import SlotScheduler
from batch_gateway.services.progress_events import BatchObservers
from batch_gateway.services.routing import SingleEndpointRouteProvider
from batch_gateway.settings import (
    EngineMonitorSettings,
    ExecutionSettings,
    InferenceSettings,
    QueueSettings,
    RetrySettings,
)

GOOD = ModelResponse(status=200, body=b"{}", request_id=None, retry_after=None)


class Slots:
    """A slot server that can be slow to take slots back."""

    def __init__(self) -> None:
        self.in_use: dict[str, int] = {}  # as it was told last
        self.leaving, self.may_leave = asyncio.Event(), asyncio.Event()
        self.may_leave.set()
        self.syncing, self.may_sync = asyncio.Event(), asyncio.Event()
        self.may_sync.set()

    async def sync(self, _: str, reports: Any, *, ttl: timedelta) -> dict[str, SlotGrant]:
        """A server carries out what it was sent, also when the client no longer waits for it."""
        return await asyncio.shield(asyncio.ensure_future(self._served(reports)))

    async def _served(self, reports: Any) -> dict[str, SlotGrant]:
        self.syncing.set()
        await self.may_sync.wait()
        self.in_use = {name: report.in_use for name, report in reports.items()}
        return {
            name: SlotGrant(slots=report.want, limit=9, free=0, generation="g")
            for name, report in reports.items()
        }

    async def leave(self, _: str, names: Any = ()) -> None:
        self.leaving.set()
        await self.may_leave.wait()
        for name in names:
            self.in_use.pop(name, None)


class Engine:
    """Answers when it may; ``fails`` makes it unreachable."""

    def __init__(self) -> None:
        self.open, self.calls, self.fails = 0, 0, False
        self.may_answer = asyncio.Event()

    async def call(self, *_: Any) -> ModelResponse:
        self.open += 1
        self.calls += 1
        try:
            if self.fails:
                raise CallFailed("reset")
            await self.may_answer.wait()
            return GOOD
        finally:
            self.open -= 1


class Stage:
    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.slots, self.engine, self.circuits = Slots(), Engine(), EndpointCircuits()
        engine: Any = self.engine
        silent: Any = SimpleNamespace(wake=asyncio.sleep)
        retry = RetrySettings(attempts=9, backoff_s=0.001, backoff_max_s=0.002)
        self.routes = SingleEndpointRouteProvider(InferenceSettings(url="http://engine"))
        self.pools = SlotPools(
            ActivationId("me"),
            group,
            slots=self.slots,  # type: ignore[arg-type]
            shared=ProcessResources(
                attempts=ModelCaller(engine, retry, budget_s=600),
                circuits=self.circuits,
                monitors=EngineMonitors(
                    engine, engine, EngineMonitorSettings(metrics=False, probe=False)
                ),
                watches=BatchObservers([]),
            ),
            routes=self.routes,
            activation_trigger=silent,
            clock=SimpleNamespace(now=lambda: datetime.now(UTC)),  # type: ignore[arg-type]
            rules=ExecutionSettings(slot_sync_s=0.01),
            scheduler=SlotScheduler(QueueSettings()),
            stop_calls_at=math.inf,
            memory_lost=asyncio.Event(),
        )
        self.keeping = group.create_task(self.pools.keep())

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(45):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def stage() -> Any:
    async with asyncio.TaskGroup() as group:
        one = Stage(group)
        yield one
        one.keeping.cancel()
        one.pools.abort()


async def test_a_shard_that_arrives_while_its_pool_is_left_gets_slots_that_are_counted():
    async with stage() as on:
        first, second = leased(1), leased(2, index=1)
        on.pools.add(first)
        await on.until(lambda: on.engine.open == 1)
        on.slots.may_leave.clear()
        on.engine.may_answer.set()
        await on.until(lambda: first.finished)
        on.engine.may_answer.clear()
        on.pools.remove(first)
        await on.slots.leaving.wait()

        on.pools.add(second)
        on.slots.may_leave.set()
        await on.until(lambda: on.engine.open == 2)

        (pool,) = on.pools
        assert pool.shards == [second]
        await on.until(lambda: on.slots.in_use == {pool.route.pool: 2})
        second.drain()  # a cancelled batch: no line is started again
        on.pools.stop(second)
        await on.until(lambda: on.engine.open == 0)


async def test_a_sync_that_is_cancelled_on_its_way_leaves_no_slot_behind():
    async with stage() as on:
        shard = leased(1)
        on.pools.add(shard)
        await on.until(lambda: on.engine.open == 1)
        on.slots.may_sync.clear()
        on.slots.syncing.clear()
        await on.slots.syncing.wait()

        on.keeping.cancel()
        await asyncio.wait([on.keeping])
        on.pools.abort()
        leaving = asyncio.create_task(on.pools.leave())
        await asyncio.sleep(0)
        on.slots.may_sync.set()
        await leaving
        await asyncio.sleep(0)

        assert on.slots.in_use == {}


async def test_a_trial_that_is_cancelled_before_its_first_step_leaves_nothing_behind():
    async with stage() as on:
        shard, clock = leased(1), asyncio.get_running_loop().time
        on.engine.fails = True
        on.pools.add(shard)
        await on.until(lambda: on.engine.calls == 1 and not shard.running)
        on.keeping.cancel()
        (pool,) = on.pools
        while pool.circuit.closed:
            pool.circuit.failed(clock(), trial=False, retry_after=None, reason="")
        await on.until(lambda: pool.circuit.allows(clock()) and shard.ready(clock()))
        pool.grant = 1

        assert pool.start()  # a task that has not run yet
        assert not pool.circuit.allows(clock())
        pool.abort()
        await on.until(lambda: pool.in_use == 0)

        assert (on.engine.calls, shard.running, shard.left) == (1, 0, 1)
        await on.until(lambda: pool.circuit.allows(clock()))
