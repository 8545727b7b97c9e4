"""What an earlier release left behind is migrated and finishes; both work side by side."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fixtures.metadata import BOB, a_batch
from fixtures.world import World
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.local_files import LocalFiles
from batch_gateway.adapters.sql import open_sql
from batch_gateway.adapters.sql.dialects import create_engine
from batch_gateway.adapters.sql.migrate import migrate
from batch_gateway.adapters.sql.schema import REVISION
from batch_gateway.core.events import EventType, signed_by
from batch_gateway.core.ids import BatchId
from batch_gateway.core.model import BatchStatus, ShardState
from batch_gateway.services.verify.verifier import StorageConsistencyVerifier
from batch_gateway.settings import ExecutionSettings
from batch_gateway.web.internal_events import decode

RELEASES = Path(__file__).parents[1] / "fixtures" / "releases"
KEY = b"the-key-of-the-release"

every_release = pytest.mark.parametrize("release", sorted(p.stem for p in RELEASES.glob("*.sql")))


def left_behind(release: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RELEASES / f"{release}.json").read_text())
    return found


def rows_of(release: str) -> dict[str, list[dict[str, Any]]]:
    """Rows by table, parents first."""
    with sqlite3.connect(":memory:") as database:
        database.executescript((RELEASES / f"{release}.sql").read_text())
        database.row_factory = sqlite3.Row
        tables = ("accounts", "files", "batches", "shards", "outbox")
        return {t: [dict(row) for row in database.execute(f"SELECT * FROM {t}")] for t in tables}


async def insert(connection: AsyncConnection, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Insert them as that release would: it names no column that came later."""
    known = sa.MetaData()
    await connection.run_sync(lambda c: known.reflect(c, only=list(rows)))
    for name, content in rows.items():
        table = known.tables[name]
        for row in content:
            values = {column: _value(table.c[column], value) for column, value in row.items()}
            await connection.execute(sa.insert(table).values(values))


def _value(column: sa.Column[Any], value: Any) -> Any:
    if value is not None and isinstance(column.type, sa.JSON):
        return json.loads(value)
    return bool(value) if isinstance(column.type, sa.Boolean) else value


def _upgrade_to(release: str) -> Callable[[sa.Connection], None]:
    from alembic import command
    from alembic.config import Config

    def upgrade(connection: sa.Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "batch_gateway.adapters.sql:migrations")
        command.upgrade(config, release)

    return upgrade


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'old.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


async def restore(url: str, release: str) -> None:
    """The database as that release left it; on SQLite it is its very dump."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.partition("///")[2]) as database:
            database.executescript((RELEASES / f"{release}.sql").read_text())
        return
    engine = create_engine(url, 1)
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade_to(release))
        await insert(connection, rows_of(release))
    await engine.dispose()


@pytest.fixture
async def make_successor(make_world, tmp_path, url):
    """The new release on the stores of ``release``, once they are migrated."""
    stores = []

    async def make(release: str) -> World:
        for key, content in left_behind(release)["files"].items():
            path = tmp_path / "old-files" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        metadata = await open_sql(url, pool_size=5, migrate=False)
        stores.append(metadata)
        await metadata.check()
        world: World = make_world(execution=ExecutionSettings(lease_ttl_s=0.2))
        world.metadata, world.files = metadata, LocalFiles(tmp_path / "old-files")
        return world

    yield make
    for store in stores:
        await store.close()


async def finish(world: World, *names: str) -> None:
    """The functions hear what the broker is sent until the batches have ended."""
    ended = Counter[str]()
    async with asyncio.timeout(60):
        while len(ended) < len(names):
            await world.janitor.sweep()
            for event in world.sink.take():
                if event.type is EventType.BATCH_CREATED:
                    await world.planner.plan(BatchId(event.subject))
                elif event.type is EventType.WORK_AVAILABLE:
                    await world.work()
                elif event.type in (EventType.BATCH_EXECUTED, EventType.BATCH_CANCELLING):
                    await world.assembler.assemble(BatchId(event.subject))
            await asyncio.sleep(0.05)
            for name in names:
                batch = await world.metadata.batches.load(BatchId(name))
                assert batch is not None
                if batch.terminal:
                    ended[name] += 1


async def damage(world: World) -> list[str]:
    verifier = StorageConsistencyVerifier(world.metadata, world.files)
    return [f"{f.problem} {f.key}" async for f in verifier.findings() if f.problem.is_damage]


@pytest.mark.redis
@every_release
async def test_batches_of_an_earlier_release_finish_in_this_one(make_successor, url, release):
    await restore(url, release)
    said = await migrate(url)
    assert said.endswith(f"from schema version {release} to {REVISION}")
    world, names = await make_successor(release), left_behind(release)["batches"]
    assert await damage(world) == []
    running = [s async for s in world.metadata.shards.of_batch(BatchId(names["in_progress"]))]
    assert {s.state for s in running} == {ShardState.CLOSED, ShardState.LEASED, ShardState.READY}
    answered = {
        line
        for key, content in left_behind(release)["files"].items()
        if key.startswith(f"work/{names['in_progress']}/") and "/parts/" in key
        for line, ok, *_ in map(json.loads, content.splitlines())
        if ok is not None
    }

    await finish(world, *names.values())

    lines = {"completed": 2, "finalizing": 4, "in_progress": 9, "validating": 3}
    for state, count in lines.items():
        batch = await world.metadata.batches.load(BatchId(names[state]))
        output, errors = await world.results(batch)
        assert (batch.status, errors) == (BatchStatus.COMPLETED, []), state
        assert [each["custom_id"] for each in output] == [f"line-{n + 1}" for n in range(count)]
        assert batch.counts.completed == count
        assert batch.usage is not None
    stopped = await world.metadata.batches.load(BatchId(names["cancelling"]))
    output, errors = await world.results(stopped)
    assert stopped.status is BatchStatus.CANCELLED
    assert len(output) + len(errors) == 4
    # What was answered under the earlier release is not asked again, recorded or not.
    asked = len(await world.arrivals())
    assert len(answered) > 3
    assert asked == lines["validating"] + lines["in_progress"] - len(answered)
    assert await damage(world) == []
    account = await world.metadata.accounts.get(stopped.tenant)
    assert (account.open_batches, account.queued_requests) == (0, 0)


AMOUNTS = (
    *("completed", "failed", "input_tokens", "cached_tokens"),
    *("output_tokens", "reasoning_tokens"),
)


async def test_counts_of_running_batches_become_those_of_all_their_shards(url):
    """Earlier releases counted what was recorded for closed shards only."""
    await restore(url, "0005")
    engine, names = create_engine(url, 1), left_behind("0005")["batches"]
    values = ", ".join(f"{name} = {10 * n + 1}" for n, name in enumerate(AMOUNTS))
    amounts = ", ".join(AMOUNTS)
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade_to("0008"))
        await connection.execute(sa.text(f"UPDATE shards SET {values}"))
        before = await connection.execute(sa.text(f"SELECT id, {amounts} FROM batches"))
        ended = {row[0]: tuple(row[1:]) for row in before}[names["completed"]]
        shards = await connection.execute(
            sa.text("SELECT batch_id, COUNT(*) FROM shards GROUP BY batch_id")
        )
        numbers = {row[0]: row[1] for row in shards}
        await connection.run_sync(_upgrade_to("0007"))
        found = await connection.execute(sa.text(f"SELECT id, {amounts} FROM batches"))
        counts = {row[0]: tuple(row[1:]) for row in found}
    await engine.dispose()

    assert numbers[names["in_progress"]] > 2
    for state in ("in_progress", "cancelling", "finalizing"):
        shards_of = numbers[names[state]]
        assert counts[names[state]] == tuple(shards_of * (10 * n + 1) for n in range(len(AMOUNTS)))
    assert counts[names["completed"]] == ended


@pytest.mark.redis
@every_release
async def test_rows_that_an_earlier_release_writes_after_the_migration_are_worked_on(
    make_successor, url, release
):
    """While a cluster rolls out, old pods write into the new schema."""
    await migrate(url)
    engine = create_engine(url, 1)
    async with engine.begin() as connection:
        await insert(connection, rows_of(release))
    await engine.dispose()
    world, names = await make_successor(release), left_behind(release)["batches"]
    newer = a_batch(tenant=BOB)  # beside them, one that this release writes
    await world.metadata.batches.create(newer, [])

    await finish(world, *names.values())

    counts = [await world.metadata.batches.load(BatchId(name)) for name in names.values()]
    assert Counter(batch.status for batch in counts) == {
        BatchStatus.COMPLETED: 4,
        BatchStatus.CANCELLED: 1,
    }
    assert await world.metadata.batches.get(BOB, newer.id) is not None


@every_release
def test_events_of_an_earlier_release_are_understood(release):
    """In both modes that brokers use, with their signatures."""
    events = left_behind(release)["events"]
    assert {e["type"] for e in events} >= {
        EventType.BATCH_CREATED,
        EventType.BATCH_EXECUTED,
        EventType.BATCH_CANCELLING,
        EventType.BATCH_EXPIRING,
        EventType.WORK_AVAILABLE,
        EventType.WEBHOOK_DUE,
        EventType.UPKEEP_DUE,
    }

    for sent in events:
        (received,) = decode(sent["headers"], sent["body"].encode())

        event = received.event
        assert (event.id, event.type, event.subject) == (sent["id"], sent["type"], sent["subject"])
        assert dict(event.data) == sent["data"]
        assert signed_by([b"another", KEY], event, received.signed)
        assert not signed_by([b"another"], event, received.signed)
