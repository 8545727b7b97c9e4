"""The steps that transactions are made of.

Every change of a batch or of its shards' state locks the batch's row first. This orders all
changes, so values read under the lock may be modified and written back.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.sql.dialects import insert_new
from batch_gateway.adapters.sql.rows import (
    batch_columns,
    changed,
    event_columns,
    shard_is,
    to_batch,
)
from batch_gateway.adapters.sql.schema import batches, outbox, shards
from batch_gateway.core.events import Event
from batch_gateway.core.ids import BatchId
from batch_gateway.core.model import Batch, LeaseRef, ShardState


async def lock(
    connection: AsyncConnection, batch: BatchId, *conditions: sa.ColumnElement[bool]
) -> Batch | None:
    """The batch, locked until the transaction ends; None when it is not as ``conditions``."""
    query = sa.select(batches).where(batches.c.id == batch, *conditions).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else to_batch(row)


async def save(
    connection: AsyncConnection, before: Batch, after: Batch, extra: Mapping[str, Any] | None = None
) -> None:
    """Write what differs, and the columns that only the database knows (``extra``)."""
    values = {**changed(batch_columns(before), batch_columns(after)), **(extra or {})}
    if values:
        await connection.execute(sa.update(batches).where(batches.c.id == before.id).values(values))


async def close_shards(
    connection: AsyncConnection, batch: BatchId, states: Sequence[ShardState]
) -> int:
    """Close the batch's shards that are in one of ``states``; return how many."""
    change = (
        sa.update(shards)
        .where(shards.c.batch_id == batch, shards.c.state.in_(states))
        .values(state=ShardState.CLOSED, holder=None, leased_at=None)
    )
    return (await connection.execute(change)).rowcount


def held_by(lease: LeaseRef) -> sa.ColumnElement[bool]:
    """The shard of ``lease``, while it still is that lease's."""
    return sa.and_(
        shard_is(lease.shard),
        shards.c.epoch == lease.epoch,
        shards.c.token == lease.token,
        shards.c.state == ShardState.LEASED,
    )


async def change_leased(
    connection: AsyncConnection, lease: LeaseRef, values: Mapping[str, Any]
) -> bool:
    """Change the shard that ``lease`` holds; False when it holds it no more."""
    change = sa.update(shards).where(held_by(lease)).values(values)
    return (await connection.execute(change)).rowcount == 1


async def write_events(connection: AsyncConnection, events: Sequence[Event], now: datetime) -> None:
    if events:
        rows = [{**event_columns(event), "created_at": now} for event in events]
        await connection.execute(insert_new(connection.dialect, outbox, rows))
