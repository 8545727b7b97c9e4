"""Changes of shard rows: leases, checkpoints and results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.corrupt_rows import skipped
from batch_gateway.adapters.sql.accounts import book_ended
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.dialects import DatabaseNow
from batch_gateway.adapters.sql.gathered_writes import WriteCoalescer
from batch_gateway.adapters.sql.rows import (
    file_columns,
    result_columns,
    tally_columns,
    to_shard,
)
from batch_gateway.adapters.sql.schema import (
    batches,
    shards,
)
from batch_gateway.adapters.sql.schema import files as file_table
from batch_gateway.adapters.sql.shard_queries import ShardQueries
from batch_gateway.adapters.sql.steps import (
    IS_LEASE,
    change_leased,
    delete_leased,
    leased_shard,
    lock,
    lock_all,
    naming,
    save,
    save_all,
    write_dated_events,
    write_events,
)
from batch_gateway.adapters.sql.transitions import completed, shards_closed
from batch_gateway.adapters.sql.unreadable_shards import mend
from batch_gateway.adapters.sql.usage import add_reports
from batch_gateway.core.errors import CorruptRow
from batch_gateway.core.events import Event
from batch_gateway.core.ids import (
    ActivationId,
    BatchId,
    FileId,
    ShardId,
    split_shard_id,
)
from batch_gateway.core.model import (
    TERMINAL,
    Batch,
    ClosedShard,
    File,
    Lease,
    LeaseRef,
    ResultPart,
    ResultTally,
    ShardState,
    TokenUsage,
)
from batch_gateway.core.transitions import BatchChange, allows
from batch_gateway.core.usage import BatchReport
from batch_gateway.ports.shards import RepairedShards

_ADD_FILE = sa.insert(file_table)
_GRANT = (
    sa.update(shards)
    .values(
        state=ShardState.LEASED,
        epoch=shards.c.epoch + 1,
        token=sa.bindparam("token"),
        holder=sa.bindparam("holder"),
        leased_at=sa.bindparam("leased_at"),
    )
    .returning(shards, DatabaseNow().label("database_now"))
)
_GRANT_READY = _GRANT.where(
    shards.c.batch_id == sa.bindparam("of_batch"),
    shards.c.position == sa.bindparam("at_position"),
    shards.c.state == ShardState.READY,
)
_GRANT_LEASED = _GRANT.where(IS_LEASE)


@dataclass(frozen=True, slots=True)
class _Claim:
    shard: ShardId
    holder: ActivationId
    token: str
    now: datetime


@dataclass(frozen=True, slots=True)
class _Completion:
    lease: LeaseRef
    tally: ResultTally
    deadline: datetime
    files: Sequence[File]
    output: FileId | None
    error: FileId | None
    now: datetime
    events: Sequence[Event]
    options: Mapping[str, Any] | None
    report: BatchReport | None

    @property
    def batch(self) -> BatchId:
        return split_shard_id(self.lease.shard)[0]

    def applied_to(self, before: Batch) -> Batch | None:
        """The batch as this makes it; None when it cannot be completed so."""
        return completed(
            before, self.tally, self.deadline, self.output, self.error, self.now, self.options
        )


class SqlShards(ShardQueries):
    def __init__(self, database: SqlDatabase) -> None:
        super().__init__(database)
        self._database = database
        self._claiming = WriteCoalescer(self._claim)
        self._completing = WriteCoalescer(self._complete)

    async def close(self) -> None:
        """Wait for what is being written."""
        await self._claiming.close()
        await self._completing.close()

    async def claim(
        self, shard: ShardId, *, holder: ActivationId, token: str, now: datetime
    ) -> Lease | None:
        return await self._claiming.add(_Claim(shard, holder, token, now))

    async def _claim(self, claims: Sequence[_Claim]) -> Sequence[Lease | None]:
        leases: list[Lease | None] = []
        async with self._database.writing() as connection:
            named = [split_shard_id(claim.shard) for claim in claims]
            found = await lock_all(connection, [batch for batch, _ in named])
            for claim, (batch_id, index) in zip(claims, named, strict=True):
                batch = found.get(batch_id)
                if batch is None or not allows(batch, BatchChange.LEASE):
                    leases.append(None)
                    continue
                place = {"of_batch": batch_id, "at_position": index}
                leases.append(
                    await _grant(
                        connection,
                        batch,
                        _GRANT_READY,
                        place,
                        claim.holder,
                        claim.token,
                        claim.now,
                    )
                )
        return leases

    async def take_over(
        self, observed: LeaseRef, *, holder: ActivationId, token: str, now: datetime
    ) -> Lease | None:
        batch_id, _ = split_shard_id(observed.shard)
        async with self._database.writing() as connection:
            batch = await lock(connection, batch_id, batches.c.status.not_in(TERMINAL))
            if batch is None:
                return None
            named = naming(observed)
            return await _grant(connection, batch, _GRANT_LEASED, named, holder, token, now)

    async def finish(
        self,
        lease: LeaseRef,
        parts: Sequence[ResultPart],
        tally: ResultTally,
        *,
        now: datetime,
        events: Sequence[Event],
    ) -> ClosedShard | None:
        batch_id, _ = split_shard_id(lease.shard)
        async with self._database.writing() as connection:
            batch = await lock(connection, batch_id)
            if batch is None:
                return None
            return await _close(connection, batch, lease, parts, tally, now, events)

    async def complete(
        self,
        lease: LeaseRef,
        tally: ResultTally,
        *,
        deadline: datetime,
        files: Sequence[File],
        output: FileId | None,
        error: FileId | None,
        now: datetime,
        events: Sequence[Event],
        options: Mapping[str, Any] | None = None,
        report: BatchReport | None = None,
    ) -> Batch | None:
        completion = _Completion(
            lease, tally, deadline, files, output, error, now, events, options, report
        )
        return await self._completing.add(completion)

    async def _complete(self, completions: Sequence[_Completion]) -> Sequence[Batch | None]:
        async with self._database.writing() as connection:
            found = await lock_all(connection, [one.batch for one in completions])
            can: dict[ShardId, tuple[_Completion, Batch, Batch]] = {}
            for one in completions:
                before = found.get(one.batch)
                after = before and one.applied_to(before)
                if before is not None and after is not None:
                    can.setdefault(one.lease.shard, (one, before, after))
            held = await delete_leased(connection, [one.lease for one, *_ in can.values()])
            done = [one for shard, one in can.items() if shard in held]
            if rows := [file_columns(file) for one, *_ in done for file in one.files]:
                await connection.execute(_ADD_FILE, rows)
            await save_all(connection, [(before, after) for _, before, after in done])
            await write_dated_events(
                connection, [(event, one.now) for one, *_ in done for event in one.events]
            )
            reports = [(one.batch, one.report) for one, *_ in done if one.report is not None]
            await add_reports(connection, reports)
            await book_ended(connection, [(before, one.files) for one, before, _ in done])
        ended = {id(one): after for one, _, after in done}
        return [ended.get(id(one)) for one in completions]

    async def release(
        self,
        lease: LeaseRef,
        parts: Sequence[ResultPart],
        tally: ResultTally,
        *,
        now: datetime,
        events: Sequence[Event],
    ) -> ClosedShard | bool:
        batch_id, _ = split_shard_id(lease.shard)
        async with self._database.writing() as connection:
            batch = await lock(connection, batch_id)
            if batch is None:
                return False
            if batch.ending:
                return await _close(connection, batch, lease, parts, tally, now, events) or False
            handed_back = await _hand_back(connection, batch, lease, ShardState.READY, parts, tally)
            if handed_back is None:
                return False
            await save(connection, batch, handed_back)
            return True

    async def checkpoint(self, tallies: Mapping[LeaseRef, ResultTally]) -> Sequence[Batch]:
        owners = sorted({split_shard_id(lease.shard)[0] for lease in tallies})
        if not owners:
            return []
        changed = []
        async with self._database.writing() as connection:
            for owner in owners:
                try:
                    before = await lock(connection, owner)
                    if before is None:
                        continue
                    after = before
                    for lease in sorted(tallies, key=lambda lease: lease.shard):
                        if split_shard_id(lease.shard)[0] == owner:
                            after = await _record(connection, after, lease, tallies[lease])
                except CorruptRow as error:  # the other batches' counts are recorded
                    skipped(error)
                    continue
                if after is not before:
                    await save(connection, before, after)
                    changed.append(after)
        return changed

    async def mend(
        self, batch: BatchId, *, now: datetime, events: Sequence[Event]
    ) -> RepairedShards | None:
        async with self._database.writing() as connection:
            return await mend(connection, batch, now, events)


async def _grant(
    connection: AsyncConnection,
    batch: Batch,
    grant: sa.Update,
    named: Mapping[str, Any],
    holder: ActivationId,
    token: str,
    now: datetime,
) -> Lease | None:
    """Lease the one shard of ``batch`` that ``grant`` and ``named`` select, if there is one."""
    values = {"token": token, "holder": holder, "leased_at": now}
    row = (await connection.execute(grant, {**named, **values})).one_or_none()
    if row is None:
        return None
    return Lease.granted(to_shard(row), batch, row.database_now)


async def _close(
    connection: AsyncConnection,
    batch: Batch,
    lease: LeaseRef,
    parts: Sequence[ResultPart],
    tally: ResultTally,
    now: datetime,
    events: Sequence[Event],
) -> ClosedShard | None:
    """Close a leased shard of the locked ``batch``; the last one writes ``events``."""
    recorded = await _hand_back(connection, batch, lease, ShardState.CLOSED, parts, tally)
    if recorded is None:
        return None
    after = shards_closed(recorded, 1, now)
    await save(connection, batch, after)
    last = after.open_shards == 0
    if last:
        await write_events(connection, events, now)
    return ClosedShard(batch=after, last=last)


async def _hand_back(
    connection: AsyncConnection,
    batch: Batch,
    lease: LeaseRef,
    state: ShardState,
    parts: Sequence[ResultPart],
    tally: ResultTally,
) -> Batch | None:
    """End the lease with its results recorded; the batch with them, or None when it is lost."""
    known = await _recorded(connection, lease)
    if known is None:
        return None
    kept = known.at_least(tally) if tally.lines else known
    values = {"state": state, "holder": None, "leased_at": None, **result_columns(parts, kept)}
    await change_leased(connection, lease, values)
    return _recounted(batch, known, kept)


async def _record(
    connection: AsyncConnection, batch: Batch, lease: LeaseRef, tally: ResultTally
) -> Batch:
    """Record what is finished under a lease that continues; the batch with it."""
    known = await _recorded(connection, lease)
    if known is None or not tally.lines or (kept := known.at_least(tally)) == known:
        return batch
    await change_leased(connection, lease, tally_columns(kept))
    return _recounted(batch, known, kept)


def _recounted(batch: Batch, before: ResultTally, after: ResultTally) -> Batch:
    """``batch`` with what is recorded of one shard grown from ``before`` to ``after``."""
    if after == before:
        return batch
    grown, counts = after.beyond(before), batch.counts
    return batch.evolve(
        counts=replace(
            counts,
            completed=counts.completed + grown.completed,
            failed=counts.failed + grown.failed,
        ),
        usage=(batch.usage or TokenUsage()) + grown.usage,
    )


async def _recorded(connection: AsyncConnection, lease: LeaseRef) -> ResultTally | None:
    """What is recorded of the shard that ``lease`` holds; None when it holds it no more."""
    shard = await leased_shard(connection, lease)
    return None if shard is None else shard.tally
