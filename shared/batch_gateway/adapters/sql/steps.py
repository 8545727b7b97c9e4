"""Statements that several transactions share.

Every change of a batch or of its shards' state locks the batch's row first. This orders all
changes, so values read under the lock may be modified and written back.

Statements that every batch needs are built once: building one and its key in SQLAlchemy's cache
takes longer than SQLite needs to run it. None has a list of rows in it, which SQLAlchemy would
compile anew each time; rows are given beside the statement.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.sql.dialects import insert_new
from batch_gateway.adapters.sql.rows import (
    batch_columns,
    changed,
    event_columns,
    to_batch,
    to_shard,
)
from batch_gateway.adapters.sql.schema import batches, outbox, shards
from batch_gateway.core.events import Event
from batch_gateway.core.ids import BatchId, ShardId, shard_id, split_shard_id
from batch_gateway.core.model import Batch, LeaseRef, Shard, ShardState

_LOCK = sa.select(batches).where(batches.c.id == sa.bindparam("batch")).with_for_update()
_LOCK_ALL = (
    sa.select(batches)
    .where(batches.c.id.in_(sa.bindparam("batches", expanding=True)))
    .order_by(batches.c.id)
    .with_for_update()
)
_SAVED = sa.update(batches).where(batches.c.id == sa.bindparam("batch"))
#: The shard of the lease that ``naming`` gives, while it still is that lease's.
IS_LEASE = sa.and_(
    shards.c.batch_id == sa.bindparam("of_batch"),
    shards.c.position == sa.bindparam("at_position"),
    shards.c.epoch == sa.bindparam("of_epoch"),
    shards.c.token == sa.bindparam("of_token"),
    shards.c.state == ShardState.LEASED,
)
_LEASED_SHARD = sa.select(shards).where(IS_LEASE)
_CHANGE_LEASED = sa.update(shards).where(IS_LEASE)
_DELETE_LEASED = (
    sa.delete(shards)
    .where(
        sa.tuple_(*shards.c["batch_id", "position", "epoch", "token"]).in_(
            sa.bindparam("leases", expanding=True)
        ),
        shards.c.state == ShardState.LEASED,
    )
    .returning(*shards.c["batch_id", "position"])
)


async def lock(
    connection: AsyncConnection, batch: BatchId, *conditions: sa.ColumnElement[bool]
) -> Batch | None:
    """The batch, locked until the transaction ends; None when it is not as ``conditions``."""
    query = _LOCK.where(*conditions) if conditions else _LOCK
    row = (await connection.execute(query, {"batch": batch})).one_or_none()
    return None if row is None else to_batch(row)


async def lock_all(connection: AsyncConnection, names: Iterable[BatchId]) -> dict[BatchId, Batch]:
    """Those of the batches that there are, by id; locked, in the order of their ids, until the
    transaction ends."""
    found = await connection.execute(_LOCK_ALL, {"batches": sorted(set(names))})
    return {batch.id: batch for batch in map(to_batch, found.all())}


async def save_all(connection: AsyncConnection, changes: Iterable[tuple[Batch, Batch]]) -> None:
    """Write what differs between each batch before and after."""
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for before, after in changes:
        if values := changed(batch_columns(before), batch_columns(after)):
            alike.setdefault(tuple(values), []).append({"batch": before.id, **values})
    for rows in alike.values():
        await connection.execute(_SAVED, rows)


async def save(
    connection: AsyncConnection, before: Batch, after: Batch, extra: Mapping[str, Any] | None = None
) -> None:
    """Write what differs, and the columns that only the database has (``extra``)."""
    values = {**changed(batch_columns(before), batch_columns(after)), **(extra or {})}
    if values:
        await connection.execute(_SAVED, {"batch": before.id, **values})


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


async def change_leased(
    connection: AsyncConnection, lease: LeaseRef, values: Mapping[str, Any]
) -> bool:
    """Change the shard that ``lease`` holds; False when it holds it no more."""
    change = await connection.execute(_CHANGE_LEASED, {**naming(lease), **values})
    return change.rowcount == 1


async def delete_leased(connection: AsyncConnection, leases: Iterable[LeaseRef]) -> set[ShardId]:
    """Delete the shards that ``leases`` still hold; which these were."""
    places = [
        (*split_shard_id(lease.shard), lease.epoch, lease.token)
        for lease in sorted(leases, key=lambda lease: lease.shard)
    ]
    if not places:
        return set()
    found = await connection.execute(_DELETE_LEASED, {"leases": places})
    return {shard_id(batch, position) for batch, position in found}


async def leased_shard(connection: AsyncConnection, lease: LeaseRef) -> Shard | None:
    """The shard that ``lease`` holds; None when it holds it no more."""
    row = (await connection.execute(_LEASED_SHARD, naming(lease))).one_or_none()
    return None if row is None else to_shard(row)


def naming(lease: LeaseRef) -> Mapping[str, Any]:
    """The parameters of ``IS_LEASE``."""
    batch, index = split_shard_id(lease.shard)
    return {
        "of_batch": batch,
        "at_position": index,
        "of_epoch": lease.epoch,
        "of_token": lease.token,
    }


async def write_events(connection: AsyncConnection, events: Sequence[Event], now: datetime) -> None:
    await write_dated_events(connection, [(event, now) for event in events])


async def write_dated_events(
    connection: AsyncConnection, events: Sequence[tuple[Event, datetime]]
) -> None:
    """Write events, each with the instant at which it came about."""
    if events:
        rows = [{**event_columns(event), "created_at": at} for event, at in events]
        await connection.execute(insert_new(connection.dialect.name, outbox), rows)
