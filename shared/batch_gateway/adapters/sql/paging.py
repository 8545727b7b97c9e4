"""Pages of rows by creation: a tenant's, or those of all tenants.

A page begins behind the row that the cursor names, by its place in the order and not by counting,
so rows that are added meanwhile neither shift nor repeat others.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.corrupt_rows import decodable_listing, decodable_page
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.rows import Row
from batch_gateway.core.ids import TenantId
from batch_gateway.ports.pages import Page

T = TypeVar("T")


async def listing(
    database: SqlDatabase,
    table: sa.Table,
    tenant: TenantId | None,
    decode: Callable[[Row], T],
    *conditions: sa.ColumnElement[bool],
    after: str | None,
    offset: int = 0,
    descending: bool = True,
    limit: int,
) -> Page[T] | None:
    """A page of the tenant's rows as values; None when ``after`` names no row of the tenant.

    ``tenant`` None: of all tenants.
    """

    async def fetch(rows: int) -> Sequence[Row] | None:
        async with database.reading() as connection:
            return await _page(
                connection,
                table,
                tenant,
                *conditions,
                after=after,
                offset=offset,
                descending=descending,
                limit=rows,
            )

    return await decodable_listing(fetch, decode, limit)


async def rows(
    database: SqlDatabase,
    query: sa.Select[tuple[object, ...]],
    decode: Callable[[Row], T],
    limit: int,
) -> list[T]:
    """The first ``limit`` rows of ``query`` that can be decoded."""

    async def fetch(most: int) -> Sequence[Row]:
        async with database.reading() as connection:
            return (await connection.execute(query.limit(most))).all()

    return await decodable_page(fetch, decode, limit)


async def _page(
    connection: AsyncConnection,
    table: sa.Table,
    tenant: TenantId | None,
    *conditions: sa.ColumnElement[bool],
    after: str | None,
    offset: int,
    descending: bool,
    limit: int,
) -> Sequence[Row] | None:
    """Up to ``limit`` rows behind ``offset``; None when ``after`` names no row of the tenant."""
    owned = () if tenant is None else (table.c.tenant == tenant,)
    query = sa.select(table).where(*owned, *conditions)
    place = sa.tuple_(table.c.created_at, table.c.id)
    if after is not None:
        named = sa.select(table.c.created_at).where(table.c.id == after, *owned)
        created_at = await connection.scalar(named)
        if created_at is None:
            return None
        cursor = sa.tuple_(
            sa.bindparam(None, created_at, table.c.created_at.type), sa.literal(after)
        )
        query = query.where(place < cursor if descending else place > cursor)
    order = [column.desc() if descending else column for column in (table.c.created_at, table.c.id)]
    return (await connection.execute(query.order_by(*order).limit(limit).offset(offset))).all()
