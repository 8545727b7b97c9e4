"""Shards whose rows cannot be decoded are closed, within one transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.sql.rows import (
    Row,
    columns_of,
    shard_columns,
    shard_is,
    tally_of,
    to_shard,
)
from batch_gateway.adapters.sql.schema import batches, shards
from batch_gateway.adapters.sql.steps import lock, save, write_events
from batch_gateway.adapters.sql.transitions import shards_closed
from batch_gateway.adapters.unreadable_shards import mended
from batch_gateway.core.errors import CorruptRow
from batch_gateway.core.events import Event
from batch_gateway.core.ids import BatchId
from batch_gateway.core.model import TERMINAL, Shard, ShardState
from batch_gateway.ports.shards import RepairedShards


async def mend(
    connection: AsyncConnection, batch: BatchId, now: datetime, events: Sequence[Event]
) -> RepairedShards | None:
    """See ``ports.shards``."""
    before = await lock(connection, batch, batches.c.status.not_in(TERMINAL))
    if before is None:
        return None
    query = sa.select(shards).where(shards.c.batch_id == batch).order_by(shards.c.position)
    whole, broken = _sorted_out((await connection.execute(query)).all())
    left = sum(shard.state is not ShardState.CLOSED for shard in whole)
    if not broken and left == before.open_shards:
        return None
    closed = mended(batch, broken, whole, before.counts.total)
    for shard in closed:
        change = sa.update(shards).where(shard_is(shard.id)).values(shard_columns(shard))
        await connection.execute(change)
    after = shards_closed(before, before.open_shards - left, now)
    await save(connection, before, after)
    last = before.open_shards > 0 and not left
    if last:
        await write_events(connection, events, now)
    return RepairedShards(batch=after, shards=[shard.id for shard in closed], last=last)


def _sorted_out(rows: Sequence[Row]) -> tuple[list[Shard], dict[int, Mapping[str, object]]]:
    """Those that can be decoded, and the fields of those that cannot, by their index."""
    whole: list[Shard] = []
    broken: dict[int, Mapping[str, object]] = {}
    for row in rows:
        try:
            whole.append(to_shard(row))
        except CorruptRow:
            broken[row.position] = {**columns_of(row), "tally": tally_of(row)}
    return whole, broken
