"""A process whose configuration is old gives way, and one whose configuration is new does not."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from batch_gateway.settings import Events, Settings, Webhooks
from batch_gateway.wiring.configuration_watch import ConfigurationWatch, configuration

pytestmark = pytest.mark.redis

OLD = Settings(events=Events(signing_keys="old"))
NEW = Settings(events=Events(signing_keys="new, old"))
SEALED = Settings(
    events=Events(signing_keys="old"), webhooks=Webhooks(encryption_keys="another secret")
)


LATE = Settings(events=Events(signing_keys="older"))  # of a revision that is not the newest


class Process:
    """A function's watch, looking often; it remembers whether it was asked to stop."""

    def __init__(self, world, function, settings, revision):
        self.superseded, self.stopped = asyncio.Event(), asyncio.Event()
        self.watch = ConfigurationWatch(
            world.scratch,
            configuration(function, settings, revision),
            superseded=self.superseded,
            look_s=0.01,
            stop=self.stopped.set,
        )

    async def gives_way(self):
        async with asyncio.timeout(10):
            await self.superseded.wait()


@asynccontextmanager
async def started(world, function, settings, revision="janitor-00001"):
    """A process that has announced its configuration; it looks for newer ones until the end."""
    process = Process(world, function, settings, revision)
    before = await world.scratch.announced(function)
    task = asyncio.create_task(process.watch.run())
    try:
        async with asyncio.timeout(10):
            while await world.scratch.announced(function) == before and settings is not LATE:
                await asyncio.sleep(0.01)
        yield process
    finally:
        task.cancel()


async def test_a_changed_secret_of_the_same_revision_stops_its_processes(world):
    async with started(world, "janitor", OLD) as old, started(world, "janitor", SEALED) as new:
        await old.gives_way()
        assert old.stopped.is_set()
        assert not new.superseded.is_set()


async def test_changed_signing_keys_of_any_function_are_noticed(world):
    async with (
        started(world, "janitor", OLD) as old,
        started(world, "planner", NEW, "planner-00001") as new,
    ):
        await old.gives_way()
        assert old.stopped.is_set()
        assert not new.superseded.is_set()


async def test_a_newer_revision_is_given_way_to_without_stopping(world):
    async with (
        started(world, "janitor", OLD) as old,
        started(world, "janitor", NEW, "janitor-00002") as new,
    ):
        await old.gives_way()
        assert not old.stopped.is_set()
        assert not new.superseded.is_set()


async def test_a_pod_of_an_older_revision_that_starts_late_changes_nothing(world):
    async with started(world, "janitor", SEALED, "janitor-00010") as new:
        shared = await world.scratch.announced("shared")
        async with started(world, "janitor", LATE, "janitor-00009") as old:
            await old.gives_way()
            assert not old.stopped.is_set()
        assert await world.scratch.announced("shared") == shared
        assert (await world.scratch.announced("janitor")).startswith("10:")
        assert not new.superseded.is_set()


async def test_the_api_is_not_stopped(world):
    async with started(world, "api", OLD) as old, started(world, "api", SEALED):
        await old.gives_way()
        assert not old.stopped.is_set()


async def test_an_executor_stops_once_no_activation_runs(world):
    working, ends = asyncio.Event(), asyncio.Event()

    async def activation(scope, receive, send):
        working.set()
        await ends.wait()

    async with started(world, "executor", OLD) as old:
        app = old.watch.counting(activation)
        scope = {"type": "http", "method": "POST", "path": "/"}
        request = asyncio.create_task(app(scope, None, None))
        await working.wait()
        async with started(world, "executor", SEALED):
            await old.gives_way()
            assert not old.stopped.is_set()

            ends.set()
            await request

            async with asyncio.timeout(10):
                await old.stopped.wait()


async def test_nothing_secret_is_announced(world):
    own = configuration("janitor", SEALED, "janitor-00001")

    said = " ".join(own.announcements.values())
    assert "old" not in said
    assert "another secret" not in said
    assert configuration("janitor", SEALED, "janitor-00001") == own
    assert configuration("janitor", OLD, "janitor-00001").settings != own.settings
