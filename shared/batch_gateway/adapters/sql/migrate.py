"""Brings a database's schema up to date, by Alembic.

Safe when several processes start at once: the whole upgrade is one transaction, and only one of
them at a time is let into it; the others then find nothing left to do. There is no way back: what a
migration has changed an older release's would only guess at, so going back means restoring.
"""

import asyncio
import time

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_gateway.adapters.sql.database import mismatch, revision, translated
from batch_gateway.adapters.sql.dialects import (
    SQLITE_TIMEOUT_S,
    create_engine,
    prepare_migration,
    reading,
)
from batch_gateway.adapters.sql.schema import REVISION
from batch_gateway.core.errors import Permanent

_SCRIPTS = "batch_gateway.adapters.sql:migrations"
_RETRY_S = 0.02


async def migrate(url: str) -> str:
    """Migrate the database at ``url`` and say what was done, in one line; raises as ``upgrade``."""
    engine = create_engine(url, 1)
    try:
        found = await upgrade(engine)
    finally:
        await engine.dispose()
    if found == REVISION:
        return f"the metadata database is at schema version {REVISION} already"
    return f"the metadata database went from schema version {found or 'none'} to {REVISION}"


async def upgrade(engine: AsyncEngine) -> str | None:
    """Run the migrations that the database lacks; return the version that it had (None: no tables).

    Raises Unavailable when it does not answer, Permanent when a newer release has been here.
    """
    with translated():
        if engine.dialect.name == "sqlite":
            await _write_ahead(engine)
        async with engine.begin() as connection:
            await connection.run_sync(prepare_migration)
            found = await revision(connection)
            if found is not None and found > REVISION:
                raise Permanent(f"the metadata database has {mismatch(found)}")
            await connection.run_sync(_upgrade)
    return found


def _upgrade(connection: sa.Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", _SCRIPTS)
    command.upgrade(config, "head")


async def _write_ahead(engine: AsyncEngine) -> None:
    """Switch the file to its write-ahead log, which it then keeps.

    SQLite's own waiting does not cover this: of two processes that switch a new file at the same
    moment one is refused at once.
    """
    give_up = time.monotonic() + SQLITE_TIMEOUT_S
    while True:
        try:
            async with reading(engine).connect() as connection:
                await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                return
        except sa.exc.OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() > give_up:
                raise
        await asyncio.sleep(_RETRY_S)
