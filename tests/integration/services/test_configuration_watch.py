"""A process whose configuration is old gives way, and one whose configuration is new does not."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from batch_gateway.core.errors import Unavailable
from batch_gateway.settings import EventSettings, Settings, WebhookSettings
from batch_gateway.wiring.configuration_watch import ConfigurationWatch, configuration

pytestmark = pytest.mark.redis

OLD = Settings(events=EventSettings(signing_keys="old"))
NEW = Settings(events=EventSettings(signing_keys="new, old"))
SEALED = Settings(
    events=EventSettings(signing_keys="old"),
    webhooks=WebhookSettings(encryption_keys="another secret"),
)


LATE = Settings(events=EventSettings(signing_keys="older"))  # of a revision that is not the newest


class Announcing:
    """The scratch memory, and whether a process has announced itself there."""

    def __init__(self, coordination):
        self._coordination = coordination
        self.done = asyncio.Event()

    def __getattr__(self, name):
        return getattr(self._coordination, name)

    async def announce(self, name, value):
        await self._coordination.announce(name, value)
        if name == "shared":
            self.done.set()


class Process:
    """A function's watch, looking often; it remembers whether it was asked to stop."""

    def __init__(self, world, function, settings, revision):
        self.superseded, self.stopped = asyncio.Event(), asyncio.Event()
        self.away = False
        self.coordination = Announcing(world.coordination)
        self.watch = ConfigurationWatch(
            self.coordination,
            configuration(function, settings, revision),
            superseded=self.superseded,
            ready=self.ready,
            look_s=0.01,
            turn=timedelta(seconds=0.5),
            stop=self.stopped.set,
        )

    async def ready(self):
        if self.away:
            raise Unavailable("metadata: password authentication failed")

    async def ends(self):
        async with asyncio.timeout(45):
            await self.stopped.wait()

    async def gives_way(self):
        async with asyncio.timeout(45):
            await self.superseded.wait()


@asynccontextmanager
async def started(world, function, settings, revision="janitor-00001"):
    """A process that has announced its configuration; it looks for newer ones until the end."""
    process = Process(world, function, settings, revision)
    task = asyncio.create_task(process.watch.run())
    try:
        async with asyncio.timeout(45):
            if settings is not LATE:
                await process.coordination.done.wait()
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
        shared = await world.coordination.announced("shared")
        async with started(world, "janitor", LATE, "janitor-00009") as old:
            await old.gives_way()
            assert not old.stopped.is_set()
        assert await world.coordination.announced("shared") == shared
        assert (await world.coordination.announced("janitor")).startswith("10:")
        assert not new.superseded.is_set()


async def test_processes_of_the_api_stop_one_after_the_other(world):
    async with (
        started(world, "api", OLD) as one,
        started(world, "api", OLD) as other,
        started(world, "api", SEALED) as new,
    ):
        await one.gives_way()
        await other.gives_way()
        async with asyncio.timeout(45):
            while not (one.stopped.is_set() or other.stopped.is_set()):
                await asyncio.sleep(0.001)
        assert not (one.stopped.is_set() and other.stopped.is_set())

        await one.ends()
        await other.ends()

        assert not new.superseded.is_set()


async def test_a_process_of_the_api_cuts_no_request(world):
    async with open_request(world, "api") as (old, ends), started(world, "api", SEALED):
        await old.gives_way()
        assert not old.stopped.is_set()

        ends.set()

        await old.ends()


@pytest.mark.parametrize("revision", ["executor-00001", "executor-00002"])
async def test_a_process_that_its_stores_refuse_stops_whatever_it_does(world, revision):
    async with (
        open_request(world, "executor") as (old, _),
        started(world, "executor", SEALED, revision),
    ):
        await old.gives_way()
        assert not old.stopped.is_set()

        old.away = True

        await old.ends()


@asynccontextmanager
async def open_request(world, function):
    """A process with the old configuration that has a request open until the event is set."""
    working, ends = asyncio.Event(), asyncio.Event()

    async def working_for_long(scope, receive, send):
        working.set()
        await ends.wait()

    async with started(world, function, OLD, f"{function}-00001") as old:
        app = old.watch.counting(working_for_long)
        scope = {"type": "http", "method": "POST", "path": "/"}
        request = asyncio.create_task(app(scope, None, None))
        await working.wait()
        try:
            yield old, ends
        finally:
            ends.set()
            await request


async def test_an_executor_stops_once_no_activation_runs(world):
    async with (
        open_request(world, "executor") as (old, ends),
        started(world, "executor", SEALED, "executor-00001"),
    ):
        await old.gives_way()
        assert not old.stopped.is_set()

        ends.set()

        await old.ends()


async def test_nothing_secret_is_announced(world):
    own = configuration("janitor", SEALED, "janitor-00001")

    said = " ".join(own.announcements.values())
    assert "old" not in said
    assert "another secret" not in said
    assert configuration("janitor", SEALED, "janitor-00001") == own
    assert configuration("janitor", OLD, "janitor-00001").settings != own.settings
