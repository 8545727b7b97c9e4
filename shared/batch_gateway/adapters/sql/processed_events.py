"""External events that already created a batch."""

from datetime import datetime

import sqlalchemy as sa

from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.schema import causes
from batch_gateway.core.ids import BatchId


class SqlProcessedEvents:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def find(self, cause: str) -> BatchId | None:
        query = sa.select(causes.c.batch).where(causes.c.id == cause)
        async with self._database.reading() as connection:
            found = await connection.scalar(query)
        return None if found is None else BatchId(found)

    async def forget(self, before: datetime, limit: int) -> int:
        old = (
            sa.select(causes.c.id)
            .where(causes.c.created_at < before)
            .order_by(causes.c.created_at, causes.c.id)
            .limit(limit)
        )
        async with self._database.writing() as connection:
            result = await connection.execute(sa.delete(causes).where(causes.c.id.in_(old)))
            return result.rowcount
