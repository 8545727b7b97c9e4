"""API key rows."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

import sqlalchemy as sa

from batch_gateway.adapters.checked import checked
from batch_gateway.adapters.corrupt_rows import decodable
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.rows import Row, columns_of
from batch_gateway.adapters.sql.schema import UtcTimestamp, api_keys
from batch_gateway.core.api_keys import ApiKey
from batch_gateway.core.ids import TenantId
from batch_gateway.core.scopes import ordered


class SqlApiKeys:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, key: ApiKey) -> None:
        async with self._database.writing() as connection:
            fields = {**asdict(key), "scopes": ordered(key.scopes)}
            await connection.execute(sa.insert(api_keys).values(fields))

    async def find(self, digest: str) -> ApiKey | None:
        query = sa.select(api_keys).where(api_keys.c.digest == digest)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _to_key(row)

    async def list(self, tenant: TenantId | None = None) -> Sequence[ApiKey]:
        query = sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        if tenant is not None:
            query = query.where(api_keys.c.tenant == tenant)
        async with self._database.reading() as connection:
            return decodable(await connection.execute(query), _to_key)

    async def revoke(self, key: str, *, now: datetime) -> ApiKey | None:
        change = (
            sa.update(api_keys)
            .where(api_keys.c.id == key)
            .values(
                revoked_at=sa.func.coalesce(api_keys.c.revoked_at, sa.literal(now, UtcTimestamp))
            )
            .returning(api_keys)
        )
        async with self._database.writing() as connection:
            row = (await connection.execute(change)).one_or_none()
        return None if row is None else _to_key(row)

    async def used(self, key: str, *, now: datetime, apart: timedelta) -> None:
        known = api_keys.c.last_used_at
        change = (
            sa.update(api_keys)
            .where(api_keys.c.id == key, sa.or_(known.is_(None), known < now - apart))
            .values(last_used_at=now)
        )
        async with self._database.writing() as connection:
            await connection.execute(change)


def _to_key(row: Row) -> ApiKey:
    """Raises CorruptRow."""
    fields = dict(columns_of(row))
    if fields["scopes"] is None:
        del fields["scopes"]
    return checked("API key", ApiKey, fields)
