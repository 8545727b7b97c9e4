"""Full disks, quotas and memories: each store's own refusal becomes StorageFull, and passes.

The databases and Redis are real and really refuse. Where a disk cannot be filled (that takes a
mount), the system call refuses; whole rounds on a real full disk are ``tests/chaos``.
"""

import asyncio
import errno
import os
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from urllib.parse import urlsplit

import pytest
import redis
import sqlalchemy as sa
from chaos.s3_proxy import Trouble, s3_proxy
from fixtures.metadata import a_batch, a_file
from fixtures.redis import redis62_server, valkey_server
from fixtures.scratch import another_process, open_own

from batch_gateway.adapters.local_files import LocalFiles
from batch_gateway.adapters.redis_metadata import open_redis_metadata
from batch_gateway.adapters.s3_files import open_s3
from batch_gateway.adapters.s3_files.upload import PART
from batch_gateway.adapters.sql import open_sql
from batch_gateway.core.errors import StorageFull, Unavailable
from batch_gateway.services.full_stores import KEPT, FullStoreReporter, refuse_if_full


class Told:
    """Counts how often a store was told to be full."""

    times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def told() -> Told:
    return Told()


# Folders ----------------------------------------------------------------------------------------


class Disk:
    """``os.write`` of a disk that has ``room`` bytes."""

    def __init__(self, number: int) -> None:
        self.room = 0
        self._number = number
        self._write = os.write

    def write(self, fd: int, content: bytes) -> int:
        if not self.room:
            raise OSError(self._number, os.strerror(self._number))
        written = self._write(fd, memoryview(content)[: self.room])
        self.room -= written
        return written


@pytest.fixture(params=[errno.ENOSPC, errno.EDQUOT])
def disk(request, monkeypatch) -> Iterator[Disk]:
    disk = Disk(request.param)
    monkeypatch.setattr("batch_gateway.adapters.local_files.store.os.write", disk.write)
    yield disk
    monkeypatch.undo()


async def test_a_folder_on_a_full_disk_is_full_and_keeps_nothing_of_the_blob(tmp_path, told, disk):
    store = LocalFiles(tmp_path, told)
    disk.room = 100_000

    with pytest.raises(StorageFull, match="full"):
        await store.put("files/a", bytes(1_000_000))
    with pytest.raises(StorageFull):
        await store.check()

    assert told.times == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    disk.room = 10_000_000
    assert await store.put("files/a", bytes(1_000_000)) == 1_000_000


async def test_a_blob_larger_than_the_room_says_nothing_about_others(tmp_path, told, monkeypatch):
    disk = Disk(errno.ENOSPC)
    disk.room = 1_000_000
    store = LocalFiles(tmp_path, told)

    def write(fd: int, content: bytes) -> int:
        if os.fstat(fd).st_size + len(content) > 1_000_000:  # what is removed is room again
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return disk._write(fd, content)

    monkeypatch.setattr("batch_gateway.adapters.local_files.store.os.write", write)

    with pytest.raises(StorageFull):
        await store.put("files/a", bytes(3_000_000))
    await store.put("files/b", bytes(100_000))

    assert told.times == 0


# Databases --------------------------------------------------------------------------------------


async def test_a_sqlite_that_cannot_grow_is_full_until_it_can(tmp_path, told):
    url = f"sqlite+aiosqlite:///{tmp_path}/x.db"
    await (await open_sql(url, pool_size=1, migrate=True)).close()
    store = await open_sql(url, pool_size=1, migrate=False, on_full=told)
    pages = {"most": 1}  # fewer than there are: SQLite takes those

    @sa.event.listens_for(store._database._engine.sync_engine, "begin", insert=True)
    def limit(connection: sa.Connection) -> None:
        cursor = connection.connection.cursor()
        cursor.execute(f"PRAGMA max_page_count={pages['most']}")
        cursor.close()

    batch = a_batch(metadata={f"k{n}": "v" * 500 for n in range(200)})
    with pytest.raises(StorageFull, match="full"):
        await store.batches.create(batch, [])
    assert told.times == 1
    assert await store.batches.load(batch.id) is None

    pages["most"] = 1_000_000
    await store.batches.create(batch, [])
    assert await store.batches.load(batch.id) == batch
    await store.close()


@pytest.mark.postgres
async def test_a_postgresql_without_disk_is_full(postgres_server, postgres_url, told):
    store = await open_sql(postgres_url, pool_size=1, migrate=True, on_full=told)
    async with store._database.writing() as connection:
        for statement in (
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE"
            " EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
            "CREATE TRIGGER full_disk BEFORE INSERT ON batches FOR EACH STATEMENT"
            " EXECUTE FUNCTION full_disk()",
        ):
            await connection.exec_driver_sql(statement)

    with pytest.raises(StorageFull, match="could not extend file"):
        await store.batches.create(a_batch(), [])

    assert told.times == 1
    await store.close()


@pytest.mark.redis
@pytest.mark.parametrize("server", [valkey_server, redis62_server])
async def test_a_metadata_redis_at_its_maxmemory_is_full_and_changes_nothing(
    tmp_path, told, server
):
    with server(tmp_path, appendonly=True) as url, redis.Redis.from_url(url) as plain:
        store = open_redis_metadata(url, prefix="test", on_full=told)
        await store.check()
        keys = plain.dbsize()
        plain.config_set("maxmemory", "1")

        with pytest.raises(StorageFull, match="full"):
            await store.batches.create(batch := a_batch(), [])
        with pytest.raises(StorageFull, match="full"):
            await store.files.add(a_file())

        assert (told.times, plain.dbsize()) == (2, keys)
        plain.config_set("maxmemory", "0")
        await store.batches.create(batch, [])
        await store.close()


# S3 ---------------------------------------------------------------------------------------------


@pytest.mark.s3
@pytest.mark.parametrize("error", ["XMinioStorageFull", "QuotaExceeded"])
async def test_a_full_bucket_is_full_in_one_part_and_in_several(s3_server, told, error):
    async with s3_proxy(urlsplit(s3_server.endpoint).port, Random(0)) as proxy:
        store = open_s3(
            s3_server.bucket,
            s3_server.prefix,
            endpoint=f"http://127.0.0.1:{proxy.port}",
            region=s3_server.region,
            access_key_id=s3_server.access_key_id,
            secret_access_key=s3_server.secret_access_key,
            on_full=told,
        )
        await store.put("work/a", bytes(PART))
        proxy.trouble = Trouble(error=error, rate=1.0)

        with pytest.raises(StorageFull, match=error):
            await store.put("files/a", b"x")
        with pytest.raises(StorageFull, match=error):
            await store.put("files/a", bytes(2 * PART))
        with pytest.raises(StorageFull, match=error):
            await store.concatenate("files/a", ["work/a", "work/a"])
        with pytest.raises(StorageFull):
            await store.check()
        assert b"".join([chunk async for chunk in store.read("work/a")]) == bytes(PART)

        proxy.trouble = Trouble()
        await store.put("files/a", b"x")
        await store.close()
    assert told.times == 3


@pytest.mark.s3
@pytest.mark.parametrize(
    "trouble", [Trouble(error="SlowDown", rate=1.0), Trouble(cut=True, rate=1)]
)
async def test_a_bucket_in_other_trouble_is_not_full(s3_server, told, trouble):
    async with s3_proxy(urlsplit(s3_server.endpoint).port, Random(0)) as proxy:
        store = open_s3(
            s3_server.bucket,
            s3_server.prefix,
            endpoint=f"http://127.0.0.1:{proxy.port}",
            region=s3_server.region,
            access_key_id=s3_server.access_key_id,
            secret_access_key=s3_server.secret_access_key,
            on_full=told,
        )
        proxy.trouble = trouble
        with pytest.raises(Unavailable) as raised:
            await store.put("files/a", bytes(1000))
        await store.close()
    assert not isinstance(raised.value, StorageFull)
    assert told.times == 0


# All processes know -----------------------------------------------------------------------------


@pytest.mark.redis
async def test_what_one_process_finds_full_all_know_for_a_moment(redis_url):
    one = open_own(redis_url)
    other = another_process(one, redis_url)
    full = FullStoreReporter()
    await refuse_if_full(other)

    async with full.published(one), asyncio.timeout(45):
        full.reporter("files")()
        while not await other.full_stores.stores():
            await asyncio.sleep(0.01)

    assert await other.full_stores.stores() == ["files"]
    with pytest.raises(StorageFull, match="files"):
        await refuse_if_full(other)
    ttl = await other._client.pttl(f"{{{other.prefix}}}:full:files")
    assert timedelta(0) < timedelta(milliseconds=ttl) <= KEPT
    await one.close()
    await other.close()


@pytest.mark.redis
async def test_a_scratch_server_that_is_full_says_so_itself(tmp_path):
    with valkey_server(tmp_path) as url:
        coordination = open_own(url)
        assert await coordination.full_stores.stores() == []
        await coordination._client.config_set("maxmemory", "1")

        with pytest.raises(StorageFull, match="maxmemory"):
            await coordination.locks.acquire("x", "me", KEPT)
        assert await coordination.full_stores.stores() == ["scratch"]
        await refuse_if_full(coordination)  # uploads need no room there
        await coordination.close()
