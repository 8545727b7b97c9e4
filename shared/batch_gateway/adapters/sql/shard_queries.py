"""Queries of shard rows: leases, the queue's entries and the shards of a batch."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

import sqlalchemy as sa

from batch_gateway.adapters.checked import checked_entry
from batch_gateway.adapters.corrupt_rows import decoding
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.dialects import DatabaseNow, UnindexedColumn
from batch_gateway.adapters.sql.paging import rows
from batch_gateway.adapters.sql.rows import (
    Row,
    to_shard,
)
from batch_gateway.adapters.sql.schema import (
    LEASED,
    READY,
    UNKNOWN_STATE,
    batches,
    shards,
)
from batch_gateway.core.ids import (
    ActivationId,
    BatchId,
    ShardId,
    shard_id,
    split_shard_id,
)
from batch_gateway.core.model import (
    TERMINAL,
    BatchStatus,
    LeaseRef,
    QueueEntry,
    Shard,
    ShardState,
)
from batch_gateway.ports.shards import LeaseStatus

#: Shards of a batch that are read at once.
_PAGE = 500

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class ShardQueries:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def standings(self, leases: Sequence[LeaseRef]) -> Sequence[LeaseStatus]:
        if not leases:
            return []
        named = _named(lease.shard for lease in leases)
        owners = {split_shard_id(lease.shard)[0] for lease in leases}
        query = (
            sa.select(*batches.c["id", "paused", "ending", "status", "deadline"])
            .add_columns(*shards.c["position", "epoch", "token", "state"])
            .add_columns(DatabaseNow().label("database_now"))
            .outerjoin_from(batches, shards, sa.and_(shards.c.batch_id == batches.c.id, named))
            .where(batches.c.id.in_(owners))
        )
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).all()
        of_batch = {row.id: row for row in found}
        of_shard = {(row.id, row.position): row for row in found}
        return [_standing(lease, of_batch, of_shard) for lease in leases]

    async def ready(self, *, after: ShardId | None, limit: int) -> Sequence[QueueEntry]:
        place = sa.tuple_(shards.c.batch_id, shards.c.position)
        query = (
            sa.select(*shards.c["batch_id", "position", "model", "cost"])
            .add_columns(*batches.c["tenant", "priority", "deadline"])
            .join_from(shards, batches)
            .where(
                READY,
                UnindexedColumn(batches.c.status) == BatchStatus.IN_PROGRESS,
                batches.c.paused.is_(False),
                batches.c.ending.is_(None),
            )
            .order_by(shards.c.batch_id, shards.c.position)
        )
        if after is not None:
            query = query.where(place > sa.tuple_(*map(sa.literal, split_shard_id(after))))

        return await rows(self._database, query, _entry, limit)

    async def leased(self, *, limit: int) -> Sequence[tuple[LeaseRef, datetime]]:
        query = (
            sa.select(*shards.c["batch_id", "position", "epoch", "token", "leased_at"])
            .where(LEASED)
            .order_by(shards.c.leased_at, shards.c.batch_id, shards.c.position)
        )
        return await rows(self._database, query, _leased, limit)

    async def held_by(self, holder: ActivationId, *, limit: int) -> Sequence[LeaseRef]:
        query = (
            sa.select(*shards.c["batch_id", "position", "epoch", "token", "leased_at"])
            .where(LEASED, shards.c.holder == holder)
            .order_by(shards.c.leased_at, shards.c.batch_id, shards.c.position)
        )
        return [lease for lease, _ in await rows(self._database, query, _leased, limit)]

    async def in_unknown_state(self, *, limit: int) -> Sequence[BatchId]:
        query = (
            sa.select(shards.c.batch_id)
            .distinct()
            .join_from(shards, batches)
            .where(UNKNOWN_STATE, UnindexedColumn(batches.c.status).not_in(TERMINAL))
            .order_by(shards.c.batch_id)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            return [BatchId(row.batch_id) for row in (await connection.execute(query)).all()]

    async def of_batch(self, batch: BatchId) -> AsyncIterator[Shard]:
        query = sa.select(shards).where(shards.c.batch_id == batch).order_by(shards.c.position)
        position = -1
        while True:
            behind = query.where(shards.c.position > position).limit(_PAGE)
            async with self._database.reading() as connection:
                found = (await connection.execute(behind)).all()
            for row in found:
                yield to_shard(row)
            if len(found) < _PAGE:
                return
            position = found[-1].position


def _named(shard_ids: Iterable[ShardId]) -> sa.ColumnElement[bool]:
    """The shards with these ids: one index look-up for each batch."""
    places = sorted(split_shard_id(shard) for shard in shard_ids)
    return sa.or_(
        sa.false(),
        *(
            sa.and_(shards.c.batch_id == batch, shards.c.position.in_([at for _, at in of_batch]))
            for batch, of_batch in groupby(places, key=lambda place: place[0])
        ),
    )


def _standing(
    lease: LeaseRef,
    of_batch: Mapping[str, Row],
    of_shard: Mapping[tuple[str, int], Row],
) -> LeaseStatus:
    place = split_shard_id(lease.shard)
    batch, shard = of_batch.get(place[0]), of_shard.get(place)
    if batch is None:
        return LeaseStatus(
            lease=lease,
            held=False,
            ready=False,
            paused=False,
            ending=True,
            deadline=_NEVER,
            time_left=timedelta(0),
        )
    held = (
        shard is not None
        and shard.state == ShardState.LEASED
        and (shard.epoch, shard.token) == (lease.epoch, lease.token)
    )
    return LeaseStatus(
        lease=lease,
        held=held,
        ready=shard is not None and shard.state == ShardState.READY,
        paused=batch.paused,
        ending=batch.ending is not None or batch.status in TERMINAL,
        deadline=batch.deadline,
        time_left=batch.deadline - batch.database_now,
    )


def _leased(row: Row) -> tuple[LeaseRef, datetime]:
    with decoding("shard", name := shard_id(row.batch_id, row.position)):
        since = row.leased_at if isinstance(row.leased_at, datetime) else _NEVER
        return LeaseRef(shard=name, epoch=row.epoch, token=row.token), since


def _entry(row: Row) -> QueueEntry:
    with decoding("shard", name := shard_id(row.batch_id, row.position)):
        return checked_entry(
            {
                "shard": name,
                "tenant": row.tenant,
                "model": row.model,
                "cost": row.cost,
                "priority": row.priority,
                "deadline": row.deadline,
            }
        )
