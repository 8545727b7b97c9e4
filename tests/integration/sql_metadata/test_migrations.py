"""The migrations make the tables that ``schema`` describes, once, whichever process starts
first."""

import asyncio
import subprocess
import sys
from importlib.resources import files

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from fixtures.metadata import ALICE, BOB, T0, a_file, planned

from batch_gateway.adapters.sql import open_sql
from batch_gateway.adapters.sql.dialects import create_engine
from batch_gateway.adapters.sql.migrate import migrate
from batch_gateway.adapters.sql.schema import REVISION, metadata
from batch_gateway.core.errors import Permanent, Unavailable
from batch_gateway.core.quotas import QuotaUsage


async def _run(url, work):
    """Run ``work`` with a synchronous connection."""
    engine = create_engine(url, 1)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def _differences(connection):
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return compare_metadata(context, metadata)


def _indexes(connection):
    """Names and, as far as they have one, whether there is a predicate."""
    inspector = sa.inspect(connection)
    return {
        (index["name"], any(key.endswith("_where") for key in index["dialect_options"]))
        for table in metadata.tables
        for index in inspector.get_indexes(table)
    }


async def test_the_migrations_make_the_tables_that_are_described(empty_url):
    store = await open_sql(empty_url, pool_size=1, migrate=True)
    await store.close()

    assert await _run(empty_url, _differences) == []
    assert await _run(empty_url, _indexes) == {
        (index.name, index.info.get("where") is not None)
        for table in metadata.tables.values()
        for index in table.indexes
    }


def _config():
    config = Config()
    config.set_main_option(
        "script_location", str(files("batch_gateway.adapters.sql") / "migrations")
    )
    return config


def test_the_expected_revision_is_the_newest_migration():
    assert ScriptDirectory.from_config(_config()).get_current_head() == REVISION


async def test_a_migrated_database_is_ready_and_migrating_again_changes_nothing(empty_url):
    for _ in range(2):
        store = await open_sql(empty_url, pool_size=1, migrate=True)
        await store.check()
        await store.close()


async def test_opening_without_migrating_makes_no_tables_and_the_check_says_so(empty_url):
    store = await open_sql(empty_url, pool_size=1, migrate=False)

    with pytest.raises(Unavailable, match=r"schema version none, but this release needs"):
        await store.check()

    assert await _run(empty_url, lambda connection: sa.inspect(connection).get_table_names()) == []
    await store.close()


async def _pretend(url, version):
    """Have the database say that its schema is of another version."""
    change = sa.text(f"UPDATE alembic_version SET version_num = '{version}'")
    await _run(url, lambda connection: connection.execute(change))


@pytest.mark.parametrize(
    ("version", "advice"),
    [("0000", "run `batch-gateway migrate`"), ("9999", "a newer release was here")],
)
async def test_the_schema_of_another_release_is_refused_and_says_what_to_do(
    empty_url, version, advice
):
    await migrate(empty_url)
    await _pretend(empty_url, version)
    store = await open_sql(empty_url, pool_size=1, migrate=False)

    with pytest.raises(
        Unavailable, match=f"version {version}, but this release needs {REVISION}: {advice}"
    ):
        await store.check()

    await store.close()


async def test_the_schema_of_a_newer_release_is_never_touched(empty_url):
    await migrate(empty_url)
    await _pretend(empty_url, "9999")

    with pytest.raises(Permanent, match="a newer release was here"):
        await migrate(empty_url)
    with pytest.raises(Permanent, match="a newer release was here"):
        await open_sql(empty_url, pool_size=1, migrate=True)


async def test_a_process_at_work_goes_on_while_a_newer_release_migrates(empty_url):
    await migrate(empty_url)
    at_work = await open_sql(empty_url, pool_size=1, migrate=False)
    await at_work.check()

    await _pretend(empty_url, "9999")

    await at_work.check()
    await at_work.close()


async def test_what_tenants_have_is_counted_when_accounts_begin(empty_url):
    store = await open_sql(empty_url, pool_size=1, migrate=True)
    for file in (a_file(size=3_000_000_000), a_file(size=1), a_file(tenant=BOB, size=0)):
        await store.files.add(file)
    await planned(store, shards=2)
    failed = await planned(store, shards=1)
    await store.batches.fail(failed.id, [], now=T0, events=[])
    kept = {tenant: await store.accounts.get(tenant) for tenant in (ALICE, BOB)}
    counting = ScriptDirectory.from_config(_config()).get_revision("0005").module

    def count_anew(connection):
        connection.execute(sa.text("DELETE FROM accounts"))
        connection.execute(sa.text(counting.FROM_WHAT_THERE_IS))

    await _run(empty_url, count_anew)
    counted = {tenant: await store.accounts.get(tenant) for tenant in (ALICE, BOB)}
    await store.close()

    assert counted == kept
    assert kept[ALICE] == QuotaUsage(
        files=2, stored_bytes=3_000_000_001, open_batches=1, queued_requests=20
    )


async def test_migrating_says_what_it_did(empty_url):
    assert await migrate(empty_url) == (
        f"the metadata database went from schema version none to {REVISION}"
    )
    assert await migrate(empty_url) == (
        f"the metadata database is at schema version {REVISION} already"
    )


async def test_processes_that_start_at_once_migrate_once(empty_url):
    program = (
        "import asyncio, sys\n"
        "import aiosqlite, asyncpg, batch_gateway.adapters.sql.migrate\n"
        "from batch_gateway.adapters.sql import open_sql\n"
        "async def main():\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    store = await open_sql(sys.argv[1], pool_size=1, migrate=True)\n"
        "    await store.check()\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, empty_url, **pipes)
        for _ in range(4)
    ]
    for process in processes:
        await process.stdout.readline()

    results = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))

    assert [
        (process.returncode, errors)
        for process, (_, errors) in zip(processes, results, strict=True)
    ] == [(0, b"")] * len(processes)


def test_only_migrating_imports_alembic_and_only_the_dialect_in_use_is_imported():
    program = (
        "import asyncio, sys\n"
        "from batch_gateway.adapters.sql import open_sql\n"
        "store = asyncio.run(open_sql('sqlite+aiosqlite:///x.db', pool_size=1, migrate=False))\n"
        "print(*sorted({'alembic', 'asyncpg', 'mako'} & set(sys.modules)))\n"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert result.stdout.split() == []


async def test_a_database_that_is_up_to_date_is_opened_without_alembic(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'metadata.db'}"
    await migrate(url)
    program = (
        "import asyncio, sys\n"
        "from batch_gateway.adapters.sql import open_sql\n"
        f"asyncio.run(open_sql({url!r}, pool_size=1, migrate=True))\n"
        "print(*sorted({'alembic', 'mako'} & set(sys.modules)))\n"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert result.stdout.split() == []
