"""BatchRows: each change is one script, which also updates the indexes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from batch_gateway.adapters.corrupt_rows import decodable, decodable_page
from batch_gateway.adapters.redis_metadata.accounts import from_quotas
from batch_gateway.adapters.redis_metadata.all_batches import SCAN, page_of_all
from batch_gateway.adapters.redis_metadata.codec import (
    amounts,
    from_batch,
    from_events,
    from_file,
    from_report,
    from_results,
    to_batch,
)
from batch_gateway.adapters.redis_metadata.fields import Row, instant, json_text, micros, row
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts, translated
from batch_gateway.adapters.redis_metadata.staging import stage
from batch_gateway.core.batch_request import SourceEvent
from batch_gateway.core.chaining import after_of
from batch_gateway.core.events import Event
from batch_gateway.core.ids import BatchId, FileId, TenantId
from batch_gateway.core.model import (
    TERMINAL,
    Batch,
    BatchError,
    BatchStatus,
    File,
    LineCounts,
    ResultTally,
    Shard,
    ShardState,
    TokenUsage,
)
from batch_gateway.core.quotas import NO_QUOTAS, Quotas
from batch_gateway.core.transitions import change_to
from batch_gateway.core.usage import BatchReport
from batch_gateway.ports.batches import ALL_BATCHES, Backlog, BatchFilter
from batch_gateway.ports.metadata import Page

_COUNTED = 500  # batches that one script counts; it blocks the server while it runs


class RedisBatches:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._scripts = scripts

    async def create(
        self,
        batch: Batch,
        events: Sequence[Event],
        *,
        cause: SourceEvent | None = None,
        quotas: Quotas = NO_QUOTAS,
    ) -> None:
        await self._scripts.run(
            "create",
            batch=from_batch(batch),
            events=from_events(events),
            cause=None if cause is None else cause.key,
            quotas=from_quotas(quotas),
        )

    async def get(self, tenant: TenantId, batch: BatchId) -> Batch | None:
        found = await self.load(batch)
        return found if found is not None and found.tenant == tenant else None

    async def load(self, batch: BatchId) -> Batch | None:
        found = await self._scripts.row(self._scripts.keys.batch(batch))
        return to_batch(found) if found else None

    async def list(
        self,
        tenant: TenantId,
        *,
        limit: int,
        after: BatchId | None = None,
        offset: int = 0,
        only: BatchFilter = ALL_BATCHES,
    ) -> Page[Batch] | None:
        """The instants are a range of the index; the rest is judged here, some rows at a time."""
        found: list[Batch] = []
        cursor, step = after, max(limit + 1, SCAN if only != ALL_BATCHES else 0)
        skip = offset
        while len(found) <= limit:
            rows = await self._scripts.run(
                "page",
                kind="batch",
                tenant=tenant,
                after=cursor,
                since=only.since,
                before=only.before,
                descending=True,
                offset=skip if only == ALL_BATCHES else 0,
                limit=step,
            )
            if rows is None:
                if cursor == after:
                    return None
                # The row that we had come to was deleted meanwhile: the next page continues.
                return Page(items=found[:limit], more=True)
            raw = [row(fields) for fields in rows]
            read = decodable(raw, to_batch)
            admitted = [batch for batch in read if only.admits(batch)]
            if only == ALL_BATCHES:
                skip = 0  # the server has done it
            found += admitted[skip:]
            skip = max(0, skip - len(admitted))
            last = next((one["id"] for one in reversed(raw) if "id" in one), None)
            if len(raw) < step or last is None:
                break
            cursor = BatchId(last)
        return Page(items=found[:limit], more=len(found) > limit)

    async def list_all(
        self, *, limit: int, after: BatchId | None = None, only: BatchFilter = ALL_BATCHES
    ) -> Page[Batch] | None:
        return await page_of_all(self._scripts, limit=limit, after=after, only=only)

    async def delete(self, tenant: TenantId, batch: BatchId) -> Batch | None:
        return await self._change("delete_batch", tenant=tenant, batch=batch)

    async def summary(self, batch: BatchId) -> str | None:
        async with translated():
            found = await self._scripts.redis.get(self._scripts.keys.summary(batch))
        return None if found is None else str(found)

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
        closed = [shard for shard in shards if shard.state == ShardState.CLOSED]
        return await self._change(
            "plan",
            batch=batch,
            staging=await stage(self._scripts, shards),
            open=len(shards) - len(closed),
            total=total,
            model=model,
            options=None if options is None else json_text(options),
            tally=amounts(sum((shard.tally for shard in closed), ResultTally())),
            quotas=from_quotas(quotas),
            now=now,
            events=from_events(events),
        )

    async def fail(
        self,
        batch: BatchId,
        errors: Sequence[BatchError],
        *,
        now: datetime,
        events: Sequence[Event],
        report: BatchReport | None = None,
    ) -> Batch | None:
        return await self._change(
            "fail",
            batch=batch,
            report=from_report(report),
            errors=json_text(errors),
            now=now,
            events=from_events(events),
        )

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
        return await self._change(
            "cancel",
            tenant=tenant,
            batch=batch,
            now=now,
            fence_at=fence_at,
            errors=json_text(errors),
            events=from_events(events),
        )

    async def expire(
        self, batch: BatchId, *, now: datetime, fence_at: datetime, events: Sequence[Event]
    ) -> Batch | None:
        return await self._change(
            "expire", batch=batch, now=now, fence_at=fence_at, events=from_events(events)
        )

    async def pause(self, tenant: TenantId, batch: BatchId, paused: bool) -> Batch | None:
        return await self._change(
            "pause", tenant=tenant, batch=batch, paused="1" if paused else "0"
        )

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
            "priority": None if priority is None else str(priority),
            "completion_window": completion_window,
            "deadline": None if deadline is None else micros(deadline),
        }
        changes = {name: text for name, text in asked.items() if text is not None}
        return await self._change("update", tenant=tenant, batch=batch, changes=changes)

    async def claim_assembly(
        self, batch: BatchId, holder: str, *, now: datetime, ttl: timedelta
    ) -> Batch | None:
        return await self._change(
            "claim_assembly", batch=batch, holder=holder, now=now, until=now + ttl
        )

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
        results = {"output_file_id": output, "error_file_id": error}
        return await self._change(
            "finish_batch",
            batch=batch,
            report=from_report(report),
            to=to,
            change=change_to(to),
            holder=holder,
            files=[from_file(file) for file in files],
            changes={
                **from_results(counts, usage),
                **{name: file for name, file in results.items() if file is not None},
                **({} if options is None else {"options": json_text(options)}),
            },
            now=now,
            events=from_events(events),
        )

    async def finalize(
        self, batch: BatchId, *, now: datetime, events: Sequence[Event]
    ) -> Batch | None:
        return await self._change("finalize", batch=batch, now=now, events=from_events(events))

    async def swept(self, *swept: BatchId) -> None:
        for batch in swept:
            await self._scripts.run("swept", batch=batch)

    async def unfinished(
        self,
        statuses: Sequence[BatchStatus],
        *,
        before: datetime,
        limit: int,
        after: Batch | None = None,
    ) -> Sequence[Batch]:
        return await decodable_page(
            lambda rows: self._since(statuses, before, rows, after), to_batch, limit
        )

    async def dependent(self, limit: int) -> Sequence[Batch]:
        rows = await self._due(
            f"batches-by-status:{BatchStatus.VALIDATING}", until="+inf", limit=limit
        )
        mention = [found for found in rows if '"after"' in found.get("options", "")]
        return [batch for batch in decodable(mention, to_batch) if after_of(batch) is not None]

    async def outlived(
        self, *, before: datetime, limit: int, after: Batch | None = None
    ) -> Sequence[Batch]:
        found: list[Batch] = []
        while len(found) < limit:
            swept: set[str] = set()

            async def fetch(rows: int, behind: Batch | None = after) -> Sequence[Row]:
                some = await self._since(sorted(TERMINAL), before, rows, behind)
                swept.update(row.get("id", "") for row in some if "swept" in row)  # noqa: B023
                return some

            read = await decodable_page(fetch, to_batch, limit)
            found += [batch for batch in read if batch.id in swept]
            if len(read) < limit:
                break
            after = read[-1]
        return found[:limit]

    async def running(self, *, limit: int, after: Batch | None = None) -> Sequence[Batch]:
        last = None if after is None else {"id": after.id, "score": micros(after.deadline)}
        return await self._batches("batches-by-deadline", until="+inf", after=last, limit=limit)

    async def overdue(self, limit: int) -> Sequence[Batch]:
        return await self._batches("batches-by-deadline", limit=limit)

    async def fenced(self, limit: int) -> Sequence[Batch]:
        return await self._batches("batches-by-fence", limit=limit)

    async def stranded(self, limit: int) -> Sequence[Batch]:
        return await self._batches("batches-stranded", until="+inf", limit=limit)

    async def ended(self, *, limit: int) -> Sequence[Batch]:
        return await self._batches("batches-ended", until="+inf", limit=limit)

    async def count_by_status(self) -> dict[BatchStatus, int]:
        async with translated(), self._scripts.redis.pipeline(transaction=True) as transaction:
            for status in BatchStatus:
                transaction.zcard(self._scripts.keys.batches_by_status(status))
            counted = await transaction.execute()
        return dict(zip(BatchStatus, counted, strict=True))

    async def backlog(self) -> Backlog:
        requests, tenants = Counter[str](), Counter[str]()
        for status in (status for status in BatchStatus if status not in TERMINAL):
            first = 0
            while True:
                found, left, owners = await self._scripts.run(
                    "backlog", status=status, first=first, last=first + _COUNTED - 1
                )
                requests.update(_counted(left))
                tenants.update(_counted(owners))
                if found < _COUNTED:
                    break
                first += _COUNTED
        async with translated():
            soonest = await self._scripts.redis.zrange(
                self._scripts.keys.batches_by_deadline, 0, 0, withscores=True
            )
        return Backlog(
            first_deadline=instant(f"{soonest[0][1]:.0f}") if soonest else None,
            requests=dict(requests),
            open_batches={TenantId(name): n for name, n in tenants.items()},
        )

    async def _change(self, script: str, **args: Any) -> Batch | None:
        """Run a script that answers with the changed batch, or with nothing."""
        changed = await self._scripts.run(script, **args)
        return None if changed is None else to_batch(row(changed))

    async def _since(
        self,
        statuses: Sequence[BatchStatus],
        before: datetime,
        limit: int,
        after: Batch | None,
    ) -> Sequence[Row]:
        """Batches in one of ``statuses`` since before ``before``, longest first."""
        last = None if after is None else {"id": after.id, "score": micros(after.status_since)}
        rows = await self._due(
            *(f"batches-by-status:{status}" for status in statuses),
            until=f"({micros(before)}",
            after=last,
            limit=limit,
        )
        oldest = sorted(rows, key=_since_and_id)
        return oldest[:limit]

    async def _batches(
        self, index: str, *, limit: int, until: str | None = None, after: Row | None = None
    ) -> Sequence[Batch]:
        return await decodable_page(
            lambda rows: self._due(index, until=until, after=after, limit=rows), to_batch, limit
        )

    async def _due(
        self, *indexes: str, limit: int, until: str | None = None, after: Row | None = None
    ) -> Sequence[Row]:
        rows = await self._scripts.run(
            "due", kind="batch", indexes=indexes, until=until, after=after, limit=limit
        )
        return [row(found) for found in rows]


def _since_and_id(found: Row) -> tuple[int, str]:
    """The order of sweeps; rows without it come first (and are skipped)."""
    since = found.get("status_since", "")
    return int(since) if since.isdecimal() else 0, found.get("id", "")


def _counted(pairs: Sequence[str | int]) -> dict[str, int]:
    """``[name, count, name, count, ...]`` as a mapping."""
    return {str(name): int(n) for name, n in zip(pairs[::2], pairs[1::2], strict=True)}
