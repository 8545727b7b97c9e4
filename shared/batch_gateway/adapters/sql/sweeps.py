"""Queries of the sweeps; each has an index of its own (``schema``)."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.dialects import DatabaseNow
from batch_gateway.adapters.sql.paging import rows
from batch_gateway.adapters.sql.rows import to_batch
from batch_gateway.adapters.sql.schema import (
    DEADLINE_RUNS,
    OUTLIVED,
    STRANDED,
    UNSWEPT,
    WAITS_FOR_FENCE,
    UtcTimestamp,
    batches,
)
from batch_gateway.core.chaining import after_of
from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import TERMINAL, Batch, BatchStatus
from batch_gateway.ports.batches import Backlog

#: True for each row with the option ``after``, and for few others.
_MENTIONS_AFTER = sa.cast(batches.c.options, sa.Text).contains('"after"')


class SqlSweepQueries:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def unfinished(
        self,
        statuses: Sequence[BatchStatus],
        *,
        before: datetime,
        limit: int,
        after: Batch | None = None,
    ) -> Sequence[Batch]:
        """Asks for each status alone: in all together, no index has the order."""
        found = [
            batch
            for status in statuses
            for batch in await self._since(batches.c.status == status, before, after, limit)
        ]
        found.sort(key=lambda batch: (batch.status_since, batch.id))
        return found[:limit]

    async def dependent(self, limit: int) -> Sequence[Batch]:
        validating = batches.c.status == BatchStatus.VALIDATING
        found = await self._oldest(batches.c.status_since, validating, _MENTIONS_AFTER, limit=limit)
        return [batch for batch in found if after_of(batch) is not None]

    async def running(self, *, limit: int, after: Batch | None = None) -> Sequence[Batch]:
        deadline = batches.c.deadline
        behind: list[sa.ColumnElement[bool]] = []
        if after is not None:
            last = sa.tuple_(sa.literal(after.deadline, UtcTimestamp), sa.literal(after.id))
            behind.append(sa.tuple_(deadline, batches.c.id) > last)
        return await self._oldest(deadline, DEADLINE_RUNS, *behind, limit=limit)

    async def outlived(
        self, *, before: datetime, limit: int, after: Batch | None = None
    ) -> Sequence[Batch]:
        return await self._since(OUTLIVED, before, after, limit)

    async def overdue(self, limit: int) -> Sequence[Batch]:
        deadline = batches.c.deadline
        return await self._oldest(deadline, DEADLINE_RUNS, deadline <= DatabaseNow(), limit=limit)

    async def fenced(self, limit: int) -> Sequence[Batch]:
        fence_at = batches.c.fence_at
        return await self._oldest(fence_at, WAITS_FOR_FENCE, fence_at <= DatabaseNow(), limit=limit)

    async def stranded(self, limit: int) -> Sequence[Batch]:
        return await self._oldest(batches.c.status_since, STRANDED, limit=limit)

    async def ended(self, *, limit: int) -> Sequence[Batch]:
        return await self._oldest(batches.c.status_since, UNSWEPT, limit=limit)

    async def count_by_status(self) -> dict[BatchStatus, int]:
        query = sa.select(batches.c.status, sa.func.count()).group_by(batches.c.status)
        async with self._database.reading() as connection:
            counts = {str(status): count for status, count in await connection.execute(query)}
            return {status: counts[status] for status in BatchStatus if status in counts}

    async def backlog(self) -> Backlog:
        deadline, tenant = sa.func.min(batches.c.deadline), batches.c.tenant
        left = sa.func.sum(batches.c.total - batches.c.completed - batches.c.failed)
        running = batches.c.status == BatchStatus.IN_PROGRESS
        unended = batches.c.status.in_([s for s in BatchStatus if s not in TERMINAL])
        first = sa.select(deadline).where(DEADLINE_RUNS)
        requests = sa.select(batches.c.model, left).where(running).group_by(batches.c.model)
        tenants = sa.select(tenant, sa.func.count()).where(unended).group_by(tenant)
        async with self._database.reading() as connection:
            return Backlog(
                first_deadline=await connection.scalar(first),
                requests={
                    model or "": int(count)
                    for model, count in await connection.execute(requests)
                    if count
                },
                open_batches={
                    TenantId(name): count for name, count in await connection.execute(tenants)
                },
            )

    async def _since(
        self,
        which: sa.ColumnElement[bool] | sa.TextClause,
        before: datetime,
        after: Batch | None,
        limit: int,
    ) -> Sequence[Batch]:
        """``which`` batches that are in their present status since before ``before``."""
        since = batches.c.status_since
        behind: list[sa.ColumnElement[bool]] = []
        if after is not None:
            last = sa.tuple_(sa.literal(after.status_since, UtcTimestamp), sa.literal(after.id))
            behind.append(sa.tuple_(since, batches.c.id) > last)
        return await self._oldest(since, which, since < before, *behind, limit=limit)

    async def _oldest(
        self,
        instant: sa.Column[datetime],
        *conditions: sa.ColumnElement[bool] | sa.TextClause,
        limit: int,
    ) -> Sequence[Batch]:
        query = sa.select(batches).where(*conditions).order_by(instant, batches.c.id)
        return await rows(self._database, query, to_batch, limit)
