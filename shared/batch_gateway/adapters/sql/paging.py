"""Pages of a tenant's rows by creation.

A page begins behind the row that the cursor names, by its place in the order and not by counting,
so rows that are added meanwhile neither shift nor repeat others.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.sql.rows import Row
from batch_gateway.core.ids import TenantId


async def page(
    connection: AsyncConnection,
    table: sa.Table,
    tenant: TenantId,
    *conditions: sa.ColumnElement[bool],
    after: str | None,
    offset: int = 0,
    descending: bool,
    limit: int,
) -> Sequence[Row] | None:
    """Up to ``limit`` + 1 rows behind ``offset``, the last of which only tells that there are more.

    None when ``after`` names no row of the tenant.
    """
    query = sa.select(table).where(table.c.tenant == tenant, *conditions)
    place = sa.tuple_(table.c.created_at, table.c.id)
    if after is not None:
        named = sa.select(table.c.created_at).where(table.c.id == after, table.c.tenant == tenant)
        created_at = await connection.scalar(named)
        if created_at is None:
            return None
        cursor = sa.tuple_(
            sa.bindparam(None, created_at, table.c.created_at.type), sa.literal(after)
        )
        query = query.where(place < cursor if descending else place > cursor)
    order = [column.desc() if descending else column for column in (table.c.created_at, table.c.id)]
    return (await connection.execute(query.order_by(*order).limit(limit + 1).offset(offset))).all()
