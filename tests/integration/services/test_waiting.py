"""Work that must wait: for a calendar to allow it, or for a model to come up from zero."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from fixtures.redis import free_port
from fixtures.world import World, chat_lines

from batch_gateway.adapters.routing_file import RoutingFile
from batch_gateway.core.breaker import BreakerState
from batch_gateway.core.events import EventType
from batch_gateway.core.model import BatchStatus, ShardState
from batch_gateway.settings import EngineMonitorSettings, ExecutionSettings, RetrySettings

UNWATCHED = EngineMonitorSettings(metrics=False, probe=False)  # the endpoints count every call
BRISK = ExecutionSettings(idle_exit_s=0.3, flush_interval_s=0.05)


@pytest.fixture
def route(make_world, tmp_path: Path) -> Callable[..., World]:
    def make(content: str, **changes: object) -> World:
        (tmp_path / "routes.yaml").write_text(content)
        routing = RoutingFile(tmp_path / "routes.yaml")
        return make_world(
            **{"watching": UNWATCHED, "execution": BRISK, "routing": routing, **changes}
        )

    return make


def by_day(url: str, most: int) -> str:
    """An endpoint that takes ``most`` calls at once from 9 to 18 h, UTC."""
    window = f"{{when: '* 9-17 * * *', max_concurrency: {most}}}"
    return f"{{url: {url}, calendar: {{windows: [{window}]}}}}"


def set_clock(world: World, hour: int) -> None:
    """Make it the first second of ``hour``, the next time it comes."""
    now = world.clock.now()
    then = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    world.clock.ahead += then - now + timedelta(days=then < now)


async def planned(world: World, count: int, model: str = "m"):
    batch = await world.submit(chat_lines(count, model=model), window=timedelta(days=3))
    await world.planner.plan(batch.id)
    world.sink.take()
    return batch


async def unsent(world: World):
    return await world.metadata.outbox.unsent(before=world.clock.now(), limit=10)


async def test_nobody_stays_awake_for_work_that_the_calendar_forbids(route, start_endpoint):
    endpoint = await start_endpoint()
    world = route(f"endpoints: {{a: {by_day(endpoint.url, 0)}}}\nmodels: {{m: a}}")
    set_clock(world, 12)
    batch = await planned(world, 5)

    await world.work()  # ends by itself, although it is the only one

    assert endpoint.arrivals == []
    assert await world.coordination.activations.count() == (0, 0)
    assert EventType.WORK_AVAILABLE not in world.sink.types()
    await world.janitor.sweep()
    assert EventType.WORK_AVAILABLE not in world.sink.types()

    set_clock(world, 18)
    await world.janitor.sweep()
    assert EventType.WORK_AVAILABLE in world.sink.types()
    await world.work()
    assert (await world.reload(batch)).counts.completed == 5


async def test_the_janitor_rests_until_the_calendar_is_about_to_open(route, start_endpoint):
    endpoint = await start_endpoint()
    world = route(f"endpoints: {{a: {by_day(endpoint.url, 0)}}}\nmodels: {{m: a}}")
    set_clock(world, 12)
    await planned(world, 5)
    await world.metadata.outbox.sent([row.event.id for row in await unsent(world)])

    async with asyncio.timeout(45):
        await world.janitor_loop(every_s=60).run()

    world.clock.ahead += timedelta(hours=5, minutes=55)
    rounds = asyncio.create_task(world.janitor_loop(every_s=60).run())
    await asyncio.sleep(0.2)
    assert not rounds.done()
    world.stopping.set()
    await rounds


async def test_other_models_go_on_while_one_must_wait(route, start_endpoint):
    day, night = await start_endpoint(), await start_endpoint()
    world = route(
        f"endpoints: {{a: {by_day(night.url, 0)}, b: {{url: {day.url}}}}}\nmodels: {{m: a, n: b}}"
    )
    set_clock(world, 12)
    waiting, going = await planned(world, 5), await planned(world, 5, model="n")
    await world.janitor.sweep()
    assert EventType.WORK_AVAILABLE in world.sink.types()

    await world.work()

    assert (await world.reload(going)).counts.completed == 5
    assert (await world.reload(waiting)).status is BatchStatus.IN_PROGRESS
    assert night.arrivals == []


async def test_names_of_a_default_endpoint_wait_too(route, start_endpoint):
    day, night = await start_endpoint(), await start_endpoint()
    world = route(
        f"endpoints: {{a: {by_day(night.url, 0)}, b: {{url: {day.url}}}}}\n"
        "models: {n: b}\ndefault: a"
    )
    set_clock(world, 12)
    await planned(world, 5, model="anything")
    going = await planned(world, 5, model="n")

    await world.work()

    assert (await world.reload(going)).counts.completed == 5
    assert night.arrivals == []


async def test_slots_are_given_back_when_a_window_opens(route, start_endpoint):
    endpoint = await start_endpoint()

    async def slow(arrival):
        await asyncio.sleep(30)

    endpoint.answer = slow
    world = route(f"endpoints: {{a: {by_day(endpoint.url, 0)}}}\nmodels: {{m: a}}")
    set_clock(world, 8)
    batch = await planned(world, 20)
    working = asyncio.create_task(world.work())
    while endpoint.open < 4:
        await asyncio.sleep(0.01)

    set_clock(world, 9)
    await working

    shards = [shard async for shard in world.metadata.shards.of_batch(batch.id)]
    assert [shard.state for shard in shards] == [ShardState.READY]
    endpoint.answer = None
    set_clock(world, 18)
    await world.work()
    batch = await world.reload(batch)
    assert (batch.counts.completed, batch.counts.failed) == (20, 0)


async def test_nearly_nothing_runs_in_a_window_that_allows_nearly_nothing(route, start_endpoint):
    endpoint = await start_endpoint()

    async def slow(arrival):
        await asyncio.sleep(0.02)

    endpoint.answer = slow
    world = route(f"endpoints: {{a: {by_day(endpoint.url, 2)}}}\nmodels: {{m: a}}")
    set_clock(world, 12)
    batch = await planned(world, 30)

    await world.work()

    assert (await world.reload(batch)).counts.completed == 30
    assert endpoint.most_open == 2


async def test_a_model_at_zero_is_woken_and_waited_for_without_an_avalanche(route, start_endpoint):
    endpoint = await start_endpoint()
    endpoint.status = 503
    open_then = []

    async def asleep_for_a_while(arrival):
        if len(endpoint.arrivals) > 20:
            endpoint.status = 200
        open_then.append(endpoint.open)

    endpoint.answer = asleep_for_a_while
    world = route(
        f"endpoints: {{a: {{url: {endpoint.url}, breaker: {{pause_s: 0.01, pause_max_s: 0.05}}}}}}"
        "\nmodels: {m: a}",
        retry=RetrySettings(attempts=1, backoff_s=0.01),
    )
    batch = await planned(world, 40)

    await world.work()

    batch = await world.reload(batch)
    assert (batch.counts.completed, batch.counts.failed) == (40, 0)
    # Eight slots at first, of which each may be used again until the fifth call has failed.
    assert max(open_then[12:21]) == 1


async def breakers(world) -> list[BreakerState | None]:
    """Of all pools, as operators see them."""
    return [pool.breaker for pool in await world.coordination.slots.pools()]


async def test_a_model_that_refuses_connections_is_waited_for(route, start_endpoint, caplog):
    port = free_port()
    world = route(
        f"endpoints: {{a: {{url: 'http://127.0.0.1:{port}', breaker: {{pause_s: 0.05,"
        " pause_max_s: 0.1}}}\nmodels: {m: a}",
        retry=RetrySettings(attempts=1, backoff_s=0.01),
    )
    batch = await planned(world, 30)
    caplog.set_level(logging.INFO)
    working = asyncio.create_task(world.work())
    while await breakers(world) != [BreakerState.OPEN]:
        await asyncio.sleep(0.05)

    endpoint = await start_endpoint(port=port)
    await working
    assert "a is unavailable: cannot connect" in caplog.text
    assert await breakers(world) == [None]  # of no executor any more

    batch = await world.reload(batch)
    assert (batch.counts.completed, batch.counts.failed) == (30, 0)
    assert len(endpoint.arrivals) == 30
    assert "a is available again" in caplog.text
