"""Batch rows: create, change and end. Queries of sweeps are in ``sweeps``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from batch_gateway.adapters.sql.accounts import book, book_all, of_ended
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.dialects import DatabaseNow
from batch_gateway.adapters.sql.filters import admitted
from batch_gateway.adapters.sql.gathered_writes import WriteCoalescer
from batch_gateway.adapters.sql.paging import listing
from batch_gateway.adapters.sql.pending_writes import PendingBatch, PendingPlan
from batch_gateway.adapters.sql.rows import batch_columns, file_columns, shard_columns, to_batch
from batch_gateway.adapters.sql.schema import batch_summaries, batches, causes
from batch_gateway.adapters.sql.schema import files as file_table
from batch_gateway.adapters.sql.schema import shards as shard_table
from batch_gateway.adapters.sql.steps import (
    close_shards,
    lock,
    lock_all,
    save,
    save_all,
    write_dated_events,
    write_events,
)
from batch_gateway.adapters.sql.sweeps import SqlSweepQueries
from batch_gateway.adapters.sql.transitions import moved, shards_closed
from batch_gateway.adapters.sql.usage import add_report
from batch_gateway.core.batch_request import SourceEvent
from batch_gateway.core.events import Event
from batch_gateway.core.ids import BatchId, FileId, TenantId
from batch_gateway.core.model import (
    TERMINAL,
    Batch,
    BatchError,
    BatchStatus,
    EndReason,
    File,
    LineCounts,
    Shard,
    ShardState,
    TokenUsage,
)
from batch_gateway.core.quotas import NO_QUOTAS, Quotas
from batch_gateway.core.transitions import BatchChange, allows, change_to
from batch_gateway.core.usage import BatchReport
from batch_gateway.ports.batches import ALL_BATCHES, BatchFilter
from batch_gateway.ports.metadata import Page

_ADD = sa.insert(batches)
_ADD_SHARD = sa.insert(shard_table)
_FEW = 10  # shards: plans of no more are written together
_ADD_CAUSE = sa.insert(causes)
_BY_ID = sa.select(batches).where(batches.c.id == sa.bindparam("batch"))


class SqlBatches(SqlSweepQueries):
    def __init__(self, database: SqlDatabase) -> None:
        super().__init__(database)
        self._database = database
        self._creating = WriteCoalescer(self._create)
        self._planning = WriteCoalescer(self._plan)

    async def create(
        self,
        batch: Batch,
        events: Sequence[Event],
        *,
        cause: SourceEvent | None = None,
        quotas: Quotas = NO_QUOTAS,
    ) -> None:
        await self._creating.add(PendingBatch(batch, events, cause, quotas))

    async def _create(self, new: Sequence[PendingBatch]) -> Sequence[None]:
        async with self._database.writing() as connection:
            await connection.execute(_ADD, [batch_columns(one.batch) for one in new])
            if caused := [one.cause_columns for one in new if one.cause is not None]:
                await connection.execute(_ADD_CAUSE, caused)
            await write_dated_events(
                connection, [(event, one.batch.created_at) for one in new for event in one.events]
            )
            opened = Counter((one.batch.tenant, one.quotas) for one in new)
            await book_all(connection, opened, "open_batches")
        return [None] * len(new)

    async def close(self) -> None:
        """Wait for what is being written."""
        await self._creating.close()
        await self._planning.close()

    async def get(self, tenant: TenantId, batch: BatchId) -> Batch | None:
        found = await self.load(batch)
        return None if found is None or found.tenant != tenant else found

    async def load(self, batch: BatchId) -> Batch | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(_BY_ID, {"batch": batch})).one_or_none()
        return None if row is None else to_batch(row)

    async def list(
        self,
        tenant: TenantId,
        *,
        limit: int,
        after: BatchId | None = None,
        offset: int = 0,
        only: BatchFilter = ALL_BATCHES,
    ) -> Page[Batch] | None:
        return await listing(
            self._database,
            batches,
            tenant,
            to_batch,
            *admitted(only, self._database.dialect),
            after=after,
            offset=offset,
            limit=limit,
        )

    async def list_all(
        self, *, limit: int, after: BatchId | None = None, only: BatchFilter = ALL_BATCHES
    ) -> Page[Batch] | None:
        return await listing(
            self._database,
            batches,
            None,
            to_batch,
            *admitted(only, self._database.dialect),
            after=after,
            limit=limit,
        )

    async def delete(self, tenant: TenantId, batch: BatchId) -> Batch | None:
        async with self._database.writing() as connection:
            found = await lock(connection, batch, batches.c.tenant == tenant)
            if found is None or not allows(found, BatchChange.DELETE):
                return None
            for table in (shard_table, batch_summaries):
                await connection.execute(sa.delete(table).where(table.c.batch_id == batch))
            await connection.execute(sa.delete(batches).where(batches.c.id == batch))
        return found

    async def summary(self, batch: BatchId) -> str | None:
        query = sa.select(batch_summaries.c.summary).where(batch_summaries.c.batch_id == batch)
        async with self._database.reading() as connection:
            found: str | None = await connection.scalar(query)
        return found

    async def plan(
        self,
        batch: BatchId,
        shards: Sequence[Shard],
        *,
        total: int,
        model: str | None,
        now: datetime,
        events: Sequence[Event],
        options: Mapping[str, Any] | None = None,
        quotas: Quotas = NO_QUOTAS,
    ) -> Batch | None:
        plan = PendingPlan(batch, shards, total, model, now, events, options, quotas)
        if len(shards) > _FEW:
            [planned] = await self._plan([plan])
            return planned
        return await self._planning.add(plan)

    async def _plan(self, plans: Sequence[PendingPlan]) -> Sequence[Batch | None]:
        results: list[Batch | None] = []
        async with self._database.writing() as connection:
            found = await lock_all(connection, [plan.batch for plan in plans])
            made: list[tuple[PendingPlan, Batch, Batch]] = []
            for plan in plans:
                before = found.get(plan.batch)
                if before is None or not allows(before, BatchChange.PLAN):
                    results.append(None)
                    continue
                found[plan.batch] = after = plan.applied_to(before)
                made.append((plan, before, after))
                results.append(after)
            if rows := [shard_columns(shard) for plan, *_ in made for shard in plan.shards]:
                await connection.execute(_ADD_SHARD, rows)
            await save_all(connection, [(before, after) for _, before, after in made])
            await write_dated_events(
                connection, [(event, plan.now) for plan, *_ in made for event in plan.events]
            )
            queued = Counter[tuple[TenantId, Quotas]]()
            for plan, before, _ in made:
                queued[before.tenant, plan.quotas] += plan.total
            await book_all(connection, queued, "queued_requests")
        return results

    async def fail(
        self,
        batch: BatchId,
        errors: Sequence[BatchError],
        *,
        now: datetime,
        events: Sequence[Event],
        report: BatchReport | None = None,
    ) -> Batch | None:
        async with self._database.writing() as connection:
            before = await lock(connection, batch)
            if before is None or not allows(before, BatchChange.FAIL):
                return None
            await close_shards(connection, batch, [ShardState.READY, ShardState.LEASED])
            failed = moved(before, BatchStatus.FAILED, now)
            after = failed.evolve(errors=tuple(errors), open_shards=0)
            await save(connection, before, after)
            await write_events(connection, events, now)
            await add_report(connection, batch, report)
            await book(connection, after.tenant, of_ended(before))
        return after

    async def cancel(
        self,
        tenant: TenantId,
        batch: BatchId,
        *,
        now: datetime,
        fence_at: datetime,
        events: Sequence[Event],
        errors: Sequence[BatchError] = (),
    ) -> Batch | None:
        async with self._database.writing() as connection:
            before = await lock(connection, batch, batches.c.tenant == tenant)
            if before is None or not allows(before, BatchChange.CANCEL):
                return None
            closed = await close_shards(connection, batch, [ShardState.READY])
            ending = moved(before, BatchStatus.CANCELLING, now).evolve(
                ending=EndReason.CANCELLED, fence_at=fence_at, errors=tuple(errors)
            )
            after = shards_closed(ending, closed, now)
            await save(connection, before, after)
            await write_events(connection, events, now)
        return after

    async def expire(
        self, batch: BatchId, *, now: datetime, fence_at: datetime, events: Sequence[Event]
    ) -> Batch | None:
        due = batches.c.deadline <= DatabaseNow()
        async with self._database.writing() as connection:
            before = await lock(connection, batch, due)
            if before is None or not allows(before, BatchChange.EXPIRE):
                return None
            closed = await close_shards(connection, batch, [ShardState.READY])
            after = before.evolve(
                ending=EndReason.EXPIRED, fence_at=fence_at, open_shards=before.open_shards - closed
            )
            if not after.open_shards:
                after = moved(after, BatchStatus.FINALIZING, now)
            await save(connection, before, after)
            await write_events(connection, events, now)
        return after

    async def pause(self, tenant: TenantId, batch: BatchId, paused: bool) -> Batch | None:
        async with self._database.writing() as connection:
            before = await lock(connection, batch, batches.c.tenant == tenant)
            if before is None or not allows(before, BatchChange.EDIT):
                return None
            after = before.evolve(paused=paused)
            await save(connection, before, after)
        return after

    async def update(
        self,
        tenant: TenantId,
        batch: BatchId,
        *,
        priority: int | None = None,
        completion_window: str | None = None,
        deadline: datetime | None = None,
    ) -> Batch | None:
        asked = {
            "priority": priority,
            "completion_window": completion_window,
            "deadline": deadline,
        }
        async with self._database.writing() as connection:
            before = await lock(connection, batch, batches.c.tenant == tenant)
            if before is None or not allows(before, BatchChange.EDIT):
                return None
            changes = {name: value for name, value in asked.items() if value is not None}
            after = before.evolve(**changes)
            await save(connection, before, after)
        return after

    async def claim_assembly(
        self, batch: BatchId, holder: str, *, now: datetime, ttl: timedelta
    ) -> Batch | None:
        async with self._database.writing() as connection:
            free = sa.or_(
                batches.c.assembler.is_(None),
                batches.c.assembler == holder,
                batches.c.assembler_until <= now,
            )
            found = await lock(connection, batch, free)
            if found is None or not allows(found, BatchChange.ASSEMBLE):
                return None
            await save(
                connection, found, found, {"assembler": holder, "assembler_until": now + ttl}
            )
        return found

    async def finish(
        self,
        batch: BatchId,
        to: BatchStatus,
        *,
        holder: str,
        files: Sequence[File],
        output: FileId | None,
        error: FileId | None,
        counts: LineCounts,
        usage: TokenUsage | None,
        now: datetime,
        events: Sequence[Event],
        options: Mapping[str, Any] | None = None,
        report: BatchReport | None = None,
    ) -> Batch | None:
        async with self._database.writing() as connection:
            before = await lock(connection, batch, batches.c.assembler == holder)
            if before is None or not allows(before, change_to(to)):
                return None
            after = moved(before, to, now).evolve(
                output_file_id=output,
                error_file_id=error,
                counts=counts,
                usage=usage,
                options=before.options if options is None else options,
            )
            if files:
                await connection.execute(
                    sa.insert(file_table), [file_columns(file) for file in files]
                )
            await save(connection, before, after)
            await write_events(connection, events, now)
            await add_report(connection, batch, report)
            await book(connection, after.tenant, of_ended(before, *files))
        return after

    async def finalize(
        self, batch: BatchId, *, now: datetime, events: Sequence[Event]
    ) -> Batch | None:
        async with self._database.writing() as connection:
            before = await lock(connection, batch)
            if before is None or not allows(before, BatchChange.FINALIZE):
                return None
            after = shards_closed(before, 0, now)
            await save(connection, before, after)
            await write_events(connection, events, now)
        return after

    async def swept(self, *swept: BatchId) -> None:
        ended = sa.and_(batches.c.id.in_(sorted(swept)), batches.c.status.in_(TERMINAL))
        change = sa.update(batches).where(ended).values(unswept=False).returning(batches.c.id)
        async with self._database.writing() as connection:
            names = (await connection.scalars(change)).all()
            await connection.execute(
                sa.delete(shard_table).where(shard_table.c.batch_id.in_(names))
            )
