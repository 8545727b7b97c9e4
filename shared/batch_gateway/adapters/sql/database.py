"""Opens transactions on an engine, and translates errors of the drivers."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_gateway.adapters.sql.dialects import full, reading, unavailable, writers_turns
from batch_gateway.adapters.sql.group_commit import GroupCommit
from batch_gateway.adapters.sql.schema import REVISION
from batch_gateway.core.errors import Conflict, StorageFull, Unavailable

_SCHEMA_VERSION = sa.table("alembic_version", sa.column("version_num"))


class SqlDatabase:
    def __init__(self, engine: AsyncEngine, on_full: Callable[[], None] = lambda: None) -> None:
        """``on_full`` is called when a transaction found the disk full."""
        self._engine = engine
        self._on_full = on_full
        self._reader = reading(engine)
        self._turns = writers_turns(engine)
        # PostgreSQL locks rows: its writers continue side by side, and it groups commits by itself.
        self._groups = GroupCommit(engine, self._turns) if engine.dialect.name == "sqlite" else None
        self._transaction = engine.begin if self._groups is None else self._groups.transaction
        self._schema_is_known = False

    @property
    def dialect(self) -> sa.Dialect:
        return self._engine.dialect

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end, rolled back when an exception leaves it."""
        try:
            with translated():
                async with self._transaction() as connection:
                    yield connection
        except StorageFull:
            self._on_full()
            raise

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """For single SELECTs; each reads what is committed when it starts."""
        with translated():
            async with self._reader.connect() as connection:
                yield connection

    async def check(self) -> None:
        """Raise Unavailable unless the database answers and has the schema of this release.

        A schema that was right once is not looked at again: while a newer release is rolled out,
        processes of this one that are at work continue, and only new ones wait.
        """
        async with self.reading() as connection:
            if self._schema_is_known:
                await connection.execute(sa.select(1))
                return
            found = await revision(connection)
        if found != REVISION:
            raise Unavailable(f"the metadata database has {mismatch(found)}")
        self._schema_is_known = True

    async def close(self) -> None:
        if self._groups is not None:
            await self._groups.close()
        await self._engine.dispose()
        self._turns.close()


async def revision(connection: AsyncConnection) -> str | None:
    """The schema version that the database has; None: it has no tables of ours."""
    if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table("alembic_version")):
        return None
    found: str | None = await connection.scalar(sa.select(_SCHEMA_VERSION.c.version_num))
    return found


def mismatch(found: str | None) -> str:
    """What is wrong with a schema of version ``found``, and what to do."""
    needs = f"schema version {found or 'none'}, but this release needs {REVISION}"
    if found is not None and found > REVISION:
        return f"{needs}: a newer release was here, run that one"
    return f"{needs}: run `batch-gateway migrate`"


@contextmanager
def translated() -> Iterator[None]:
    """Outages become Unavailable, an id that is taken Conflict; the rest are bugs and stay."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise Conflict(f"the metadata database refuses it: {error.orig}") from error
    except sa.exc.DBAPIError as error:
        if full(error):
            raise StorageFull(f"the disk of the metadata database is full: {error.orig}") from error
        if not unavailable(error):
            raise
        raise Unavailable(f"the metadata database cannot serve: {error.orig}") from error
    except (sa.exc.TimeoutError, OSError) as error:  # no free connection; none can be made
        raise Unavailable(f"the metadata database does not answer: {error}") from error
