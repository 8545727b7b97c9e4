"""ShardRows: leases and progress; each change is one script."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from batch_gateway.adapters.checked import checked_entry
from batch_gateway.adapters.corrupt_rows import decodable, decodable_page, decoding
from batch_gateway.adapters.redis_metadata.codec import (
    from_events,
    from_file,
    from_lease,
    from_mended,
    from_parts,
    from_report,
    from_results,
    from_tally,
    plan_model_and_cost,
    salvaged,
    to_batch,
    to_lease,
    to_shard,
)
from batch_gateway.adapters.redis_metadata.fields import instant, json_text, micros, row
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts
from batch_gateway.adapters.unreadable_shards import mended
from batch_gateway.core.errors import CorruptRow
from batch_gateway.core.events import Event
from batch_gateway.core.ids import (
    ActivationId,
    BatchId,
    FileId,
    ShardId,
    shard_id,
    split_shard_id,
)
from batch_gateway.core.model import (
    TERMINAL,
    Batch,
    BatchStatus,
    ClosedShard,
    File,
    Lease,
    LeaseRef,
    LineCounts,
    QueueEntry,
    ResultPart,
    ResultTally,
    Shard,
)
from batch_gateway.core.usage import BatchReport
from batch_gateway.ports.shards import LeaseStatus, RepairedShards

CHUNK = 500  # shards per round trip of a walk over a batch


class RedisShards:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._scripts = scripts

    async def claim(
        self, shard: ShardId, *, holder: ActivationId, token: str, now: datetime
    ) -> Lease | None:
        batch, index = split_shard_id(shard)
        granted = await self._scripts.run(
            "claim", batch=batch, index=index, holder=holder, token=token, now=now
        )
        return None if granted is None else to_lease(granted)

    async def take_over(
        self, observed: LeaseRef, *, holder: ActivationId, token: str, now: datetime
    ) -> Lease | None:
        granted = await self._scripts.run(
            "take_over", lease=from_lease(observed), holder=holder, token=token, now=now
        )
        return None if granted is None else to_lease(granted)

    async def finish(
        self,
        lease: LeaseRef,
        parts: Sequence[ResultPart],
        tally: ResultTally,
        *,
        now: datetime,
        events: Sequence[Event],
    ) -> ClosedShard | None:
        closed = await self._give_back("finish_shard", lease, parts, tally, now, events)
        return None if closed is None else _closed(closed)

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
        counts = LineCounts(total=tally.lines, completed=tally.completed, failed=tally.failed)
        results = {"output_file_id": output, "error_file_id": error}
        completed = await self._scripts.run(
            "complete",
            report=from_report(report),
            lease=from_lease(lease),
            deadline=micros(deadline),
            files=[from_file(file) for file in files],
            changes={
                **from_results(counts, tally.usage),
                **{name: file for name, file in results.items() if file is not None},
                **({} if options is None else {"options": json_text(options)}),
            },
            now=now,
            events=from_events(events),
        )
        return None if completed is None else to_batch(row(completed))

    async def release(
        self,
        lease: LeaseRef,
        parts: Sequence[ResultPart],
        tally: ResultTally,
        *,
        now: datetime,
        events: Sequence[Event],
    ) -> ClosedShard | bool:
        outcome = await self._give_back("release", lease, parts, tally, now, events)
        return _closed(outcome) if isinstance(outcome, list) else outcome is not None

    async def _give_back(
        self,
        script: str,
        lease: LeaseRef,
        parts: Sequence[ResultPart],
        tally: ResultTally,
        now: datetime,
        events: Sequence[Event],
    ) -> Any:
        return await self._scripts.run(
            script,
            lease=from_lease(lease),
            parts=from_parts(parts),
            tally=from_tally(tally),
            now=now,
            events=from_events(events),
        )

    async def checkpoint(self, tallies: Mapping[LeaseRef, ResultTally]) -> Sequence[Batch]:
        leases = [
            {**from_lease(lease), "tally": from_tally(tally)}
            for lease, tally in sorted(tallies.items(), key=lambda item: item[0].shard)
        ]
        found = await self._scripts.run("checkpoint", leases=leases) if leases else []
        return decodable([row(one) for one in found], to_batch)

    async def standings(self, leases: Sequence[LeaseRef]) -> Sequence[LeaseStatus]:
        found: list[Sequence[Any]] = []
        for start in range(0, len(leases), CHUNK):
            some = [from_lease(lease) for lease in leases[start : start + CHUNK]]
            found += await self._scripts.run("standings", leases=some)
        return [_standing(lease, *fields) for lease, fields in zip(leases, found, strict=True)]

    async def ready(self, *, after: ShardId | None, limit: int) -> Sequence[QueueEntry]:
        last_seen = None
        if after is not None:
            batch, index = split_shard_id(after)
            last_seen = {"batch": batch, "index": str(index)}

        async def fetch(rows: int) -> Sequence[Sequence[Any]]:
            found = await self._scripts.run("ready", after=last_seen, limit=rows)
            return [plan for batch in found for plan in _plans(*batch)]

        return await decodable_page(fetch, _entry, limit)

    async def leased(self, *, limit: int) -> Sequence[tuple[LeaseRef, datetime]]:
        async def fetch(rows: int) -> Sequence[Sequence[Any]]:
            found: Sequence[Sequence[Any]] = await self._scripts.run("leased", limit=rows)
            return found

        return await decodable_page(fetch, _leased, limit)

    async def held_by(self, holder: ActivationId, *, limit: int) -> Sequence[LeaseRef]:
        async def fetch(rows: int) -> Sequence[Sequence[Any]]:
            found: Sequence[Sequence[Any]] = await self._scripts.run(
                "leased", limit=rows, holder=holder
            )
            return found

        return [lease for lease, _ in await decodable_page(fetch, _leased, limit)]

    async def in_unknown_state(self, *, limit: int) -> Sequence[BatchId]:
        """A shard's state is its place in one of two sets: one in neither counts as open only."""
        found: list[BatchId] = []
        for status in (BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING):
            first, looked_at = 0, CHUNK
            while looked_at == CHUNK and len(found) < limit:
                looked_at, ids = await self._scripts.run(
                    "in_unknown_state", status=status, first=first, last=first + CHUNK - 1
                )
                found += map(BatchId, ids)
                first += CHUNK
        return found[:limit]

    async def of_batch(self, batch: BatchId) -> AsyncIterator[Shard]:
        async for fields in self._rows(batch):
            yield to_shard(batch, fields)

    async def mend(
        self, batch: BatchId, *, now: datetime, events: Sequence[Event]
    ) -> RepairedShards | None:
        found = await self._scripts.row(self._scripts.keys.batch(batch))
        if not found or (before := to_batch(found)).terminal:
            return None
        whole: list[Shard] = []
        broken: dict[int, Sequence[str | None]] = {}
        async for fields in self._rows(batch):
            try:
                whole.append(to_shard(batch, fields))
            except CorruptRow:
                broken[int(fields[0] or "")] = fields
        known = {index: salvaged(fields) for index, fields in broken.items()}
        closed = mended(batch, known, whole, before.counts.total)
        outcome = await self._scripts.run(
            "mend",
            batch=batch,
            shards=[
                {
                    "seen": [text or "" for text in broken[shard.index]],
                    "fields": from_mended(shard),
                }
                for shard in closed
            ],
            now=now,
            events=from_events(events),
        )
        if outcome is None:
            return None
        last, after = outcome
        return RepairedShards(
            batch=to_batch(row(after)), shards=[shard.id for shard in closed], last=last == "1"
        )

    async def _rows(self, batch: BatchId) -> AsyncIterator[Sequence[str | None]]:
        first = 0
        while rows := await self._scripts.run(
            "shards", batch=batch, first=first, last=first + CHUNK - 1
        ):
            for fields in rows:
                yield fields
            first += CHUNK


def _standing(
    lease: LeaseRef,
    held: str,
    ready: str,
    paused: str | None,
    ending: str | None,
    status: str | None,
    deadline: str | None,
    database_now: str,
) -> LeaseStatus:
    """Of a batch that does not exist, nothing is held and all is over."""
    due = instant(deadline or "0")
    return LeaseStatus(
        lease=lease,
        held=held == "1",
        ready=ready == "1",
        paused=paused == "1",
        ending=status is None or ending is not None or status in TERMINAL,
        deadline=due,
        time_left=due - instant(database_now),
    )


def _closed(outcome: Sequence[Any]) -> ClosedShard:
    last, batch = outcome
    return ClosedShard(batch=to_batch(row(batch)), last=last == "1")


def _leased(known: Sequence[Any]) -> tuple[LeaseRef, datetime]:
    shard, epoch, token, granted = known
    with decoding("shard", shard):
        ref = LeaseRef(shard=ShardId(shard), epoch=int(epoch), token=token)
        return ref, instant(granted if (granted or "").isdecimal() else "0")


def _plans(batch: str, *rest: Any) -> Sequence[Sequence[Any]]:
    """What is known of each ready shard of one batch."""
    *of_batch, plans = rest
    return [(batch, index, plan, *of_batch) for index, plan in row(plans).items()]


def _entry(known: Sequence[Any]) -> QueueEntry:
    batch, index, plan, tenant, priority, deadline = known
    with decoding("shard", f"{batch}.{index}"):
        model, cost = plan_model_and_cost(plan)
        return checked_entry(
            {
                "shard": shard_id(batch, int(index)),
                "tenant": tenant,
                "model": model,
                "cost": cost,
                "priority": int(priority),
                "deadline": instant(deadline),
            }
        )
