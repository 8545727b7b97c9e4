"""Brings a database's schema up to date, by Alembic.

Safe when several processes start at once: the whole upgrade is one transaction, and only one of
them at a time is let into it; the others then find nothing left to do.
"""

import asyncio
import time

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_gateway.adapters.sql.database import translated
from batch_gateway.adapters.sql.dialects import SQLITE_TIMEOUT_S, prepare_migration, reading

_SCRIPTS = "batch_gateway.adapters.sql:migrations"
_RETRY_S = 0.02


async def upgrade(engine: AsyncEngine) -> None:
    """Run the migrations that the database lacks. Raises Unavailable when it does not answer."""
    with translated():
        if engine.dialect.name == "sqlite":
            await _write_ahead(engine)
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)


def _upgrade(connection: sa.Connection) -> None:
    prepare_migration(connection)
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
