"""Transactions of one process share commits, and each still succeeds or fails by itself."""

import asyncio
import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.dialects import create_engine
from batch_gateway.core.errors import Conflict, Unavailable

ROWS = sa.table("rows", sa.column("id"), sa.column("content"))


class Counted:
    """A database with a table, and how many commits it has seen."""

    def __init__(self, path: Path | str) -> None:
        self.engine = create_engine(f"sqlite+aiosqlite:///{path}", 5)
        self.database = SqlDatabase(self.engine)
        self.commits = 0
        sa.event.listen(self.engine.sync_engine, "commit", self._count)

    def _count(self, _connection: object) -> None:
        self.commits += 1

    async def prepare(self, journal: str = "WAL") -> None:
        async with self.database.reading() as connection:
            await connection.exec_driver_sql(f"PRAGMA journal_mode={journal}")
        async with self.database.writing() as connection:
            await connection.execute(
                sa.text("CREATE TABLE rows (id INTEGER PRIMARY KEY, content BLOB)")
            )
        self.commits = 0

    async def add(self, number: int, content: bytes = b"") -> None:
        async with self.database.writing() as connection:
            await connection.execute(sa.insert(ROWS).values(id=number, content=content))

    async def ids(self) -> list[int]:
        async with self.database.reading() as connection:
            return list(await connection.scalars(sa.select(ROWS.c.id).order_by(ROWS.c.id)))

    async def limit(self, pages: int) -> None:
        """Let the database be full at so many pages, on every connection of the pool."""
        async with self.engine.connect() as connection:
            await connection.execute(sa.text(f"PRAGMA max_page_count = {pages}"))


@pytest.fixture
async def counted(tmp_path: Path):
    counted = Counted(tmp_path / "rows.db")
    await counted.prepare()
    yield counted
    await counted.database.close()


async def test_transactions_that_wait_for_each_other_share_commits(counted):
    await asyncio.gather(*(counted.add(n) for n in range(100)))

    assert await counted.ids() == list(range(100))
    assert counted.commits < 50


async def test_a_single_transaction_is_committed_at_once(counted):
    await counted.add(1)

    assert counted.commits == 1
    assert await counted.ids() == [1]


async def test_a_conflict_and_an_error_of_the_caller_leave_the_others_alone(counted):
    await counted.add(5)

    async def fail() -> None:
        async with counted.database.writing() as connection:
            await connection.execute(sa.insert(ROWS).values(id=1000))
            raise LookupError("changed its mind")

    results = await asyncio.gather(
        *(counted.add(n) for n in range(10)), fail(), fail(), return_exceptions=True
    )

    assert isinstance(results[5], Conflict)
    assert [type(result) for result in results[10:]] == [LookupError, LookupError]
    assert results[:5] + results[6:10] == [None] * 9
    assert await counted.ids() == list(range(10))


async def test_what_was_told_to_be_written_is_there_when_the_database_is_full(counted):
    await counted.limit(20)

    results = await asyncio.gather(
        *(counted.add(n, b"x" * 3000) for n in range(60)), return_exceptions=True
    )

    written = [n for n, result in enumerate(results) if result is None]
    assert await counted.ids() == written
    refused = [result for result in results if result is not None]
    assert refused
    assert all(isinstance(result, Unavailable) for result in refused)


async def test_a_cancelled_transaction_is_rolled_back_or_the_whole_group_is_told(counted):
    entered, stay = asyncio.Event(), asyncio.Event()

    async def linger() -> None:
        async with counted.database.writing() as connection:
            await connection.execute(sa.insert(ROWS).values(id=1000))
            entered.set()
            await stay.wait()

    first = asyncio.create_task(counted.add(1))
    lingering = asyncio.create_task(linger())
    await entered.wait()
    others = [asyncio.create_task(counted.add(n)) for n in range(2, 6)]
    lingering.cancel()
    results = await asyncio.gather(first, *others, return_exceptions=True)

    with suppress(asyncio.CancelledError):
        await lingering
    written = [n for n, result in enumerate(results, start=1) if result is None]
    assert await counted.ids() == written
    assert results[1:] == [None] * 4
    assert counted.database is not None


async def test_two_processes_worth_of_writers_take_turns(counted, tmp_path):
    other = Counted(tmp_path / "rows.db")
    try:
        await asyncio.gather(
            *(counted.add(n) for n in range(50)), *(other.add(n) for n in range(50, 100))
        )
        assert await counted.ids() == list(range(100))
    finally:
        await other.database.close()


@pytest.mark.parametrize("seed", range(6))
async def test_no_lock_is_left_behind_whatever_is_cancelled(counted, tmp_path, seed):
    chance = random.Random(seed)
    for number in range(100):
        await counted.add(number)

    async def work() -> None:
        for _ in range(chance.randint(1, 4)):
            async with counted.database.writing() as connection:
                update = sa.update(ROWS).values(content=b"x").returning(ROWS.c.id)
                await connection.execute(update)
                await connection.execute(sa.select(ROWS))

    for _ in range(25):
        tasks = [asyncio.create_task(work()) for _ in range(chance.randint(1, 6))]
        await asyncio.sleep(chance.random() * 0.03)
        for task in tasks:
            if chance.random() < 0.7:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        unforeseen = [r for r in results if isinstance(r, Exception)]
        assert {type(error) for error in unforeseen} <= {Unavailable}
        await asyncio.to_thread(lock, tmp_path / "rows.db")


def lock(path: Path) -> None:
    """Write-lock the database as another process does; raises when it stays locked."""
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


async def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path):
    path = tmp_path / "rows.db"
    counted = Counted(f"{path}?timeout=0.1")
    await counted.prepare(journal="DELETE")  # in which a commit waits for readers
    for number in range(3):
        await counted.add(number)
    try:
        with closing(sqlite3.connect(path)) as reader:
            reading = reader.execute("SELECT * FROM rows")
            reading.fetchone()
            with pytest.raises(Unavailable):
                await counted.add(3)
            reading.close()

        await asyncio.to_thread(lock, path)
        await counted.add(4)
        assert await counted.ids() == [0, 1, 2, 4]
    finally:
        await counted.database.close()
