"""The error that callers get from a database that is unavailable: always Unavailable."""

import asyncio
import sqlite3

import pytest
from fixtures.metadata import ALICE, a_batch, a_file
from fixtures.redis import free_port

from batch_gateway.adapters.sql import open_sql
from batch_gateway.adapters.sql.dialects import create_engine
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.ids import FileId


async def _refused(url: str, message: str) -> None:
    store = await open_sql(url, pool_size=1, migrate=False)
    try:
        with pytest.raises(Unavailable, match=message):
            await store.check()
        with pytest.raises(Unavailable, match=message):
            await store.files.get(ALICE, FileId("file-x"))
        with pytest.raises(Unavailable, match=message):
            await store.files.add(a_file())
    finally:
        await store.close()
    with pytest.raises(Unavailable, match=message):
        await open_sql(url, pool_size=1, migrate=True)


async def test_a_server_that_is_not_there_is_unavailable():
    await _refused(f"postgresql+asyncpg://postgres@127.0.0.1:{free_port()}/x", "does not answer")


@pytest.mark.postgres
async def test_a_missing_database_is_unavailable(postgres_server):
    await _refused(postgres_server.url("no_such_database"), "no_such_database")


async def test_a_folder_that_is_not_there_is_unavailable(tmp_path):
    await _refused(f"sqlite+aiosqlite:///{tmp_path}/missing/x.db", "unable to open")


async def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"text" * 1000)

    await _refused(f"sqlite+aiosqlite:///{path}", "not a database")


async def test_a_lock_that_lasts_too_long_is_unavailable(tmp_path):
    path = tmp_path / "x.db"
    store = await open_sql(f"sqlite+aiosqlite:///{path}?timeout=0.05", pool_size=1, migrate=True)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(Unavailable, match="locked"):
        await store.batches.create(a_batch(), [])
    assert (await store.batches.list(ALICE, limit=1)).items == []  # readers continue

    other.execute("ROLLBACK")
    await store.batches.create(batch := a_batch(), [])
    assert await store.batches.load(batch.id) == batch
    other.close()
    await store.close()


@pytest.mark.postgres
async def test_connections_that_the_server_closed_are_replaced(postgres_server, postgres_url):
    store = await open_sql(postgres_url, pool_size=2, migrate=True)
    batch = a_batch()
    await store.batches.create(batch, [])

    await asyncio.to_thread(
        postgres_server.run,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test_%'",
    )

    assert await store.batches.load(batch.id) == batch
    await store.check()
    await store.close()


@pytest.mark.postgres
async def test_a_connection_lost_in_mid_transaction_is_unavailable(postgres_server, postgres_url):
    store = await open_sql(postgres_url, pool_size=2, migrate=True)
    batch = a_batch()
    await store.batches.create(batch, [])
    blocker = create_engine(postgres_url, 1)
    async with blocker.begin() as connection:
        await connection.exec_driver_sql("SELECT 1 FROM batches FOR UPDATE")
        waiting = asyncio.create_task(store.batches.pause(ALICE, batch.id, True))
        await _await_lock_waiter(connection)
        await connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        )

        with pytest.raises(Unavailable):
            await waiting

    assert await store.batches.load(batch.id) == batch
    await blocker.dispose()
    await store.close()


async def _await_lock_waiter(connection) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with asyncio.timeout(45):
        while not (await connection.exec_driver_sql(waiting)).scalar():
            await connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()")
