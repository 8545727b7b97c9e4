"""All aggregates on one engine."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from batch_gateway.adapters.sql.accounts import SqlQuotaUsage
from batch_gateway.adapters.sql.api_keys import SqlApiKeys
from batch_gateway.adapters.sql.audit import SqlAudit
from batch_gateway.adapters.sql.batches import SqlBatches
from batch_gateway.adapters.sql.claims import SqlIdempotencyClaims
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.dead_letters import SqlDeadLetters
from batch_gateway.adapters.sql.dialects import create_engine
from batch_gateway.adapters.sql.files import SqlFiles
from batch_gateway.adapters.sql.outbox import SqlOutbox
from batch_gateway.adapters.sql.processed_events import SqlProcessedEvents
from batch_gateway.adapters.sql.shards import SqlShards
from batch_gateway.adapters.sql.uploads import SqlUploads
from batch_gateway.adapters.sql.usage import SqlUsage
from batch_gateway.adapters.sql.webhooks import SqlWebhooks
from batch_gateway.core.errors import Unavailable


class SqlMetadata:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self.accounts = SqlQuotaUsage(database)
        self.files = SqlFiles(database)
        self.uploads = SqlUploads(database)
        self.batches = SqlBatches(database)
        self.shards = SqlShards(database)
        self.outbox = SqlOutbox(database)
        self.api_keys = SqlApiKeys(database)
        self.claims = SqlIdempotencyClaims(database)
        self.processed_events = SqlProcessedEvents(database)
        self.dead_letters = SqlDeadLetters(database)
        self.webhooks = SqlWebhooks(database)
        self.usage = SqlUsage(database)
        self.audit = SqlAudit(database)

    async def check(self) -> None:
        await self._database.check()

    async def close(self) -> None:
        await self.batches.close()
        await self.shards.close()
        await self.audit.close()
        await self._database.close()


async def open_sql(
    url: str, *, pool_size: int, migrate: bool, on_full: Callable[[], None] = lambda: None
) -> SqlMetadata:
    """Open the database at ``url`` (``sqlite+aiosqlite:///PATH`` or ``postgresql+asyncpg://...``).

    It is not touched unless ``migrate`` is set, which brings its schema up to date first and
    raises Unavailable when it does not answer. ``pool_size`` is the most connections of this
    process to PostgreSQL. ``on_full`` is called when a transaction found the disk full.
    """
    engine = create_engine(url, pool_size)
    database = SqlDatabase(engine, on_full)
    if migrate:
        try:
            await _migrate(engine, database)
        except BaseException:
            await engine.dispose()
            raise
    return SqlMetadata(database)


async def _migrate(engine: AsyncEngine, database: SqlDatabase) -> None:
    """Bring the schema up to date unless it is: Alembic makes a start longer and larger."""
    try:
        await database.check()
    except Unavailable:
        from batch_gateway.adapters.sql.migrate import upgrade

        await upgrade(engine)
