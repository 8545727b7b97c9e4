"""The store plug-in of sqlite and postgresql URLs."""

from collections.abc import Callable

from batch_gateway.adapters.sql.store import SqlMetadata, open_sql
from batch_gateway.settings import Settings


async def open_store(settings: Settings, *, on_full: Callable[[], None]) -> SqlMetadata:
    rules = settings.metadata
    return await open_sql(
        rules.url.get_secret_value(),
        pool_size=rules.pool_size,
        migrate=rules.migrate,
        on_full=on_full,
    )


async def migrate(settings: Settings) -> str:
    from batch_gateway.adapters.sql.migrate import migrate  # Alembic is slow to import

    return await migrate(settings.metadata.url.get_secret_value())
