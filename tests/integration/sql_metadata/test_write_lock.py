"""The order of writers to a SQLite database, between stores of several processes."""

import asyncio

import pytest

from batch_gateway.adapters.sql.write_lock import WriteLock


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metadata.db"


class Writing:
    """Writers that note who is at it, and stay until they are told to go."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.go = asyncio.Semaphore(0)

    async def write(self, turns: WriteLock, name: str) -> None:
        async with turns.turn():
            self.order.append(name)
            await self.go.acquire()

    async def until(self, *order: str) -> None:
        async with asyncio.timeout(45):
            while self.order != [*order]:
                await asyncio.sleep(0.001)


async def until_idle() -> None:
    """Long enough for each waiting writer to have asked for the lock."""
    await asyncio.sleep(0.05)


async def test_who_waits_elsewhere_comes_before_ones_own_next(path):
    here, there, at = WriteLock(path, 10), WriteLock(path, 10), Writing()

    async with asyncio.TaskGroup() as group:
        group.create_task(at.write(here, "first"))
        await at.until("first")
        group.create_task(at.write(here, "own"))
        group.create_task(at.write(here, "own"))
        group.create_task(at.write(there, "other"))
        await until_idle()
        at.go.release()
        await at.until("first", "other")
        for _ in range(3):
            at.go.release()

    assert at.order == ["first", "other", "own", "own"]


async def test_who_gives_up_waiting_is_in_nobodys_way(path):
    here, there, at = WriteLock(path, 10), WriteLock(path, 10), Writing()

    async with asyncio.TaskGroup() as group:
        group.create_task(at.write(here, "first"))
        await at.until("first")
        waiting = group.create_task(at.write(there, "impatient"))
        await until_idle()
        waiting.cancel()
        group.create_task(at.write(there, "patient"))
        await until_idle()
        at.go.release()
        await at.until("first", "patient")
        at.go.release()


async def test_who_has_waited_for_too_long_goes_on_and_sqlite_decides(path):
    here, there, at = WriteLock(path, 10), WriteLock(path, 0.05), Writing()

    async with asyncio.TaskGroup() as group:
        group.create_task(at.write(here, "stuck"))
        await at.until("stuck")
        group.create_task(at.write(there, "bold"))
        await at.until("stuck", "bold")
        at.go.release()
        at.go.release()


async def test_where_no_file_can_be_nobody_waits(path):
    at = Writing()
    at.go.release()

    await at.write(WriteLock(path.parent / "missing" / "x.db", 10), "alone")

    assert at.order == ["alone"]
