"""How the databases are used: durability settings, the clock, and indexes for every question."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from fixtures.metadata import ALICE, T0, a_file, claimed, planned

from batch_gateway.adapters.sql import open_sql
from batch_gateway.adapters.sql.dialects import DatabaseNow, create_engine
from batch_gateway.core.ids import ActivationId, shard_id
from batch_gateway.core.model import BatchStatus
from batch_gateway.core.webhooks import EndpointId


@pytest.fixture
async def engine(empty_url):
    store = await open_sql(empty_url, pool_size=1, migrate=True)
    await store.close()
    engine = create_engine(empty_url, 1)
    yield engine
    await engine.dispose()


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
async def test_sqlite_keeps_a_log_syncs_every_commit_and_holds_references(engine):
    async with engine.connect() as connection:
        found = [
            (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert found == ["wal", 2, 1]  # 2 is FULL


async def test_the_databases_clock_reads_as_an_instant(engine):
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # SQLite's clock counts milliseconds

    async with engine.connect() as connection:
        now = await connection.scalar(sa.select(DatabaseNow()))

    assert before <= now <= datetime.now(UTC)


async def _plan_of(connection, statement, parameters):
    if connection.dialect.name == "sqlite":
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [row.detail for row in rows]
    rows = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
    plan = rows.scalar()
    return _nodes((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])


def _nodes(plan):
    own = f"{plan['Node Type']} {plan.get('Relation Name', '')}"
    return [own, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


async def _questions(store):
    """Every question of the port that is not for one id; each is one SELECT."""
    batch = await planned(store)
    lease = await claimed(store, batch, 0)
    file = a_file()
    await store.files.add(file)
    await store.files.list(ALICE, limit=5)
    await store.files.list(ALICE, limit=5, after=file.id, purpose="batch", descending=False)
    await store.files.expired(T0, 5)
    await store.files.existing([file.id])
    await store.uploads.expired(T0, 5)
    await store.batches.get(ALICE, batch.id)
    await store.batches.list(ALICE, limit=5)
    await store.batches.list(ALICE, limit=5, after=batch.id)
    await store.batches.list_all(limit=5)
    await store.batches.list_all(limit=5, after=batch.id)
    open_ = [BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS]
    await store.batches.unfinished(open_, before=T0, limit=5)
    await store.batches.unfinished(open_, before=T0, limit=5, after=batch)
    await store.batches.running(limit=5)
    await store.batches.running(limit=5, after=batch)
    await store.batches.overdue(5)
    await store.batches.fenced(5)
    await store.batches.stranded(5)
    await store.batches.ended(limit=5)
    await store.batches.count_by_status()
    await store.shards.standings([lease.ref])
    await store.shards.ready(after=shard_id(batch.id, 0), limit=5)
    await store.shards.leased(limit=5)
    await store.shards.held_by(ActivationId("gone"), limit=5)
    await store.webhooks.list(ALICE, limit=5)
    await store.webhooks.subscribed(ALICE, "batch.completed")
    await store.webhooks.due(T0)
    await store.webhooks.pending()
    await store.webhooks.deliveries(ALICE, EndpointId("none"), limit=5)
    await store.usage.between(T0.date(), T0.date(), tenant=ALICE)
    await store.api_keys.find("digest")
    await store.audit.list(limit=5)
    await store.dead_letters.list(limit=5)
    await store.shards.in_unknown_state(limit=5)
    await store.outbox.unsent(before=T0, limit=5)
    async for _ in store.shards.of_batch(batch.id):
        pass


async def test_no_question_reads_a_whole_table(empty_url, engine):
    selects = {}

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, context, executemany):
        if context and context.isddl is False and statement.startswith("SELECT"):
            selects[statement] = parameters

    store = await open_sql(empty_url, pool_size=1, migrate=False)
    await _questions(store)
    sa.event.remove(sa.Engine, "before_cursor_execute", note)
    await store.close()

    async with engine.connect() as connection:
        if connection.dialect.name == "postgresql":  # tables this small are cheaper to read whole
            for way in ("seqscan", "bitmapscan", "sort"):
                await connection.exec_driver_sql(f"SET enable_{way} = off")
        plans = {
            statement: await _plan_of(connection, statement, parameters)
            for statement, parameters in selects.items()
            if " FROM pg_catalog" not in statement and "FOR UPDATE" not in statement
        }

    assert len(plans) >= 33
    whole = {
        statement: steps
        for statement, steps in plans.items()
        for step in steps
        if step.startswith("Seq Scan")
        or (step.startswith("SCAN ") and "USING" not in step)
        or "FOR ORDER BY" in step
        or step.startswith(("Sort", "Incremental Sort"))
    }
    assert whole == {}
