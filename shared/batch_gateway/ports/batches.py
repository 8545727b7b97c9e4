"""Rows of batches in the metadata store; see ``ports.metadata`` for what all rows promise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from batch_gateway.core.batch_request import SourceEvent
from batch_gateway.core.events import Event
from batch_gateway.core.ids import BatchId, FileId, TenantId
from batch_gateway.core.model import (
    Batch,
    BatchError,
    BatchStatus,
    File,
    LineCounts,
    Shard,
    TokenUsage,
)
from batch_gateway.core.quotas import NO_QUOTAS, Quotas
from batch_gateway.core.usage import BatchReport
from batch_gateway.ports.api_keys import ApiKeyRows as ApiKeyRows
from batch_gateway.ports.api_keys import IdempotencyClaimRows as IdempotencyClaimRows
from batch_gateway.ports.pages import Page as Page


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFilter:
    """Which batches to list: those that meet all that is given."""

    status: BatchStatus | None = None
    model: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)  # these pairs at least
    since: datetime | None = None  # created then or later
    before: datetime | None = None  # created earlier

    def admits(self, batch: Batch) -> bool:
        """Whether ``batch`` has the status, the model and the metadata."""
        has = batch.metadata or {}
        return (
            self.status in (None, batch.status)
            and self.model in (None, batch.model)
            and all(has.get(key) == value for key, value in self.metadata.items())
        )


ALL_BATCHES = BatchFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is left to do, of all tenants together."""

    first_deadline: datetime | None  # of those whose deadline runs; None: there are none
    requests: Mapping[str, int]  # not answered yet in closed shards, by the batch's model
    open_batches: Mapping[TenantId, int]  # that have not ended, by tenant


class BatchRows(Protocol):
    async def create(
        self,
        batch: Batch,
        events: Sequence[Event],
        *,
        cause: SourceEvent | None = None,
        quotas: Quotas = NO_QUOTAS,
    ) -> None:
        """Also records the event that requested it.

        The cause's age counts from the batch's creation. Raises Conflict when the id or cause is
        taken; OverQuota.
        """
        ...

    async def get(self, tenant: TenantId, batch: BatchId) -> Batch | None:
        """None when there is none, or it is another tenant's."""
        ...

    async def load(self, batch: BatchId) -> Batch | None:
        """The batch of whichever tenant: for internal events, never for a client's id."""
        ...

    async def list(
        self,
        tenant: TenantId,
        *,
        limit: int,
        after: BatchId | None = None,
        offset: int = 0,
        only: BatchFilter = ALL_BATCHES,
    ) -> Page[Batch] | None:
        """Newest first (ties by id). None when ``after`` names no batch of the tenant.

        ``after`` need not be one that ``only`` admits; ``offset`` passes over so many that it does.
        """
        ...

    async def list_all(
        self, *, limit: int, after: BatchId | None = None, only: BatchFilter = ALL_BATCHES
    ) -> Page[Batch] | None:
        """Batches of all tenants, newest first (ties by id): for operators.

        None when ``after`` names no batch; it need not be one that ``only`` admits.
        """
        ...

    async def delete(self, tenant: TenantId, batch: BatchId) -> Batch | None:
        """Remove a batch that has ended, with its shard rows; return what it was.

        None when it has not ended, or is not the tenant's. Its files and work objects are the
        caller's task. This is the only way in which a batch's row goes, so what has to outlive a
        batch (a sum over batches) is kept in this transaction, or in the one that ended the batch.
        Outbox rows, deliveries of webhooks, causes and claims have lifetimes of their own and stay.
        """
        ...

    async def summary(self, batch: BatchId) -> str | None:
        """The summary in the report of a batch that has ended, of whichever tenant.

        None: it has not ended, was ended without a report, or is not there.
        """
        ...

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
        """validating -> in_progress with all ``shards``, unless it has an ending.

        The indexes of ``shards`` are 0, 1, 2 and so on. They may come already closed (lines that
        were answered while planning): they count as such and their tally goes into the counts.
        When none is open the batch moves on to finalizing at once (both timestamps set); the
        caller then announces it as executed. ``open_shards``, ``counts.total`` and ``model`` are
        set, and ``options`` replaced unless None. ``events`` are written only when this call did
        it. All ``total`` requests are queued until the batch has ended. Raises OverQuota.
        """
        ...

    async def fail(
        self,
        batch: BatchId,
        errors: Sequence[BatchError],
        *,
        now: datetime,
        events: Sequence[Event],
        report: BatchReport | None = None,
    ) -> Batch | None:
        """To failed from any state that allows it; closes all its shards. None otherwise.

        Counts and usage stay as they are. ``report`` is kept as by ``finish``.
        """
        ...

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
        """To cancelling with ending cancelled, and ``errors``; closes the shards that are ready.

        Leased shards stay open until their holder or the fence closes them. What the closed ones
        had finished (released earlier) stays in their rows and is left out of the counts until
        assembly has counted exactly. An ending expired is replaced. ``events`` are
        written only when the state changed. None when the state does not allow it (look again:
        it may be cancelling already) or there is no such batch of the tenant.
        """
        ...

    async def expire(
        self, batch: BatchId, *, now: datetime, fence_at: datetime, events: Sequence[Event]
    ) -> Batch | None:
        """Set ending expired on a validating or in_progress batch whose deadline has passed.

        The deadline is judged by the database's own clock inside the UPDATE (it may have been
        moved meanwhile). Ready shards are closed, as by ``cancel``; when none is open after that,
        the batch goes to finalizing (``finalizing_at`` = now). None when it is not due or has an
        ending already.
        """
        ...

    async def pause(self, tenant: TenantId, batch: BatchId, paused: bool) -> Batch | None:
        """Set or lift the pause of a batch that has not ended and has no ending."""
        ...

    async def update(
        self,
        tenant: TenantId,
        batch: BatchId,
        *,
        priority: int | None = None,
        completion_window: str | None = None,
        deadline: datetime | None = None,
    ) -> Batch | None:
        """Change what is not None of a batch that has not ended and has no ending.

        None when it has, or is not the tenant's.
        """
        ...

    async def claim_assembly(
        self, batch: BatchId, holder: str, *, now: datetime, ttl: timedelta
    ) -> Batch | None:
        """Take, or renew under the same ``holder``, the right to assemble an assemblable batch.

        None when it is not assemblable, or another holder's right has not run out yet: it ends at
        that holder's ``now`` + ``ttl``.
        """
        ...

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
        """To completed, expired or cancelled, with its file rows, as ``SOURCES`` allows.

        ``options`` are replaced unless None. The summary in ``report`` is kept as long as the
        batch; its records are added to ``UsageRows``, where they stay. None: nothing is kept.

        Only while ``holder`` holds the assembly; a right that ran out counts until another holder
        takes it. The ending decides between completed and expired: a request for the wrong one is
        refused with None, so the caller reads the batch again.
        """
        ...

    async def unfinished(
        self,
        statuses: Sequence[BatchStatus],
        *,
        before: datetime,
        limit: int,
        after: Batch | None = None,
    ) -> Sequence[Batch]:
        """Batches in one of ``statuses`` since before ``before``, longest first (for sweeps).

        ``after`` continues behind the last one returned.
        """
        ...

    async def dependent(self, limit: int) -> Sequence[Batch]:
        """At most ``limit`` batches in validating that have the option ``after``, longest first.

        Those behind the first ``limit`` batches in validating may be left out.
        """
        ...

    async def running(self, *, limit: int, after: Batch | None = None) -> Sequence[Batch]:
        """validating or in_progress, without ending, by deadline and then id.

        ``after`` continues behind the last one returned.
        """
        ...

    async def overdue(self, limit: int) -> Sequence[Batch]:
        """validating or in_progress, without ending, deadline passed by the database's clock."""
        ...

    async def fenced(self, limit: int) -> Sequence[Batch]:
        """With an ending, ``fence_at`` passed by the database's clock, and open shards."""
        ...

    async def stranded(self, limit: int) -> Sequence[Batch]:
        """in_progress without open shards (a crash between two releases of this software)."""
        ...

    async def finalize(
        self, batch: BatchId, *, now: datetime, events: Sequence[Event]
    ) -> Batch | None:
        """in_progress -> finalizing of a batch without open shards; None otherwise."""
        ...

    async def ended(self, *, limit: int) -> Sequence[Batch]:
        """Terminal batches whose work objects are not deleted yet (see ``swept``)."""
        ...

    async def swept(self, *swept: BatchId) -> None:
        """Record that the work objects of these terminal batches are deleted, and delete their
        shard rows. Batches that are not terminal are left alone."""
        ...

    async def outlived(
        self, *, before: datetime, limit: int, after: Batch | None = None
    ) -> Sequence[Batch]:
        """Batches that ended before ``before`` and are ``swept``, the first to end first.

        ``after`` continues behind the last one returned.
        """
        ...

    async def count_by_status(self) -> dict[BatchStatus, int]:
        """Batches of all tenants by status, for metrics. Statuses without a batch may be absent."""
        ...

    async def backlog(self) -> Backlog:
        """What is left to do, for metrics.

        A batch's deadline runs while it is validating or in_progress and has no ending. Requests
        count while their batch is in_progress.
        """
        ...
