"""Opens transactions on an engine, and translates the drivers' errors: nowhere else."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_gateway.adapters.sql.dialects import reading, unavailable
from batch_gateway.adapters.sql.schema import REVISION
from batch_gateway.core.errors import Conflict, Unavailable

_SCHEMA_VERSION = sa.table("alembic_version", sa.column("version_num"))


class Database:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reader = reading(engine)

    @property
    def dialect(self) -> sa.Dialect:
        return self._engine.dialect

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end, rolled back when an exception leaves it."""
        with translated():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """For single SELECTs; each sees what is committed when it starts."""
        with translated():
            async with self._reader.connect() as connection:
                yield connection

    async def check(self) -> None:
        """Raise Unavailable unless the database answers and has the schema of this release."""
        async with self.reading() as connection:
            found = None
            if await connection.run_sync(
                lambda sync: sa.inspect(sync).has_table("alembic_version")
            ):
                found = await connection.scalar(sa.select(_SCHEMA_VERSION.c.version_num))
        if found != REVISION:
            raise Unavailable(
                f"the metadata database has schema version {found or 'none'}, but this release"
                f" needs {REVISION}: run its migration"
            )

    async def close(self) -> None:
        await self._engine.dispose()


@contextmanager
def translated() -> Iterator[None]:
    """Outages become Unavailable, an id that is taken Conflict; the rest are bugs and stay."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise Conflict(f"the metadata database refuses it: {error.orig}") from error
    except sa.exc.DBAPIError as error:
        if not unavailable(error):
            raise
        raise Unavailable(f"the metadata database cannot serve: {error.orig}") from error
    except (sa.exc.TimeoutError, OSError) as error:  # no free connection; none can be made
        raise Unavailable(f"the metadata database does not answer: {error}") from error
