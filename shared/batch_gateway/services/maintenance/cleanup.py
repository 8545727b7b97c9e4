"""Deletes what is no longer needed: expired files and uploads, ended batches, old records.

Each step is part of the janitor's sweep (``sweep``).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from batch_gateway.core.idempotency import KEPT
from batch_gateway.core.layout import blobs_of, upload_prefix, work_prefix
from batch_gateway.core.model import Batch, File
from batch_gateway.core.uploads import Upload
from batch_gateway.ports.clock import Clock
from batch_gateway.services.collaborators import Stores
from batch_gateway.services.maintenance.orphans import delete_orphans
from batch_gateway.services.maintenance.retention import BatchRetention
from batch_gateway.services.maintenance.sweep_step_runner import LIMIT, StepFailed, SweepStepRunner
from batch_gateway.services.webhooks.outbox import WebhookOutbox
from batch_gateway.settings import SweepSettings

logger = logging.getLogger(__name__)

#: How long an upload that was completed in the last moment may take to become a file.
_COMPLETING = timedelta(hours=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


class ExpiringRows(Protocol):
    """Rows that are deleted when they are old."""

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` rows of before ``before``; how many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRetention:
    """How long records are kept that no request deletes."""

    deliveries: timedelta  # of webhooks
    causes: timedelta
    dead_letters: timedelta
    usage: timedelta  # of a day; zero: for ever
    audit: timedelta  # entries; zero: for ever


class Cleanup:
    """The steps of a sweep that delete."""

    def __init__(
        self,
        *,
        stores: Stores,
        webhook_outbox: WebhookOutbox,
        clock: Clock,
        retention: BatchRetention,
        kept: RecordRetention,
        items: SweepStepRunner,
        rules: SweepSettings,
    ) -> None:
        self._metadata = stores.metadata
        self._files = stores.files
        self._coordination = stores.coordination
        self._webhook_outbox = webhook_outbox
        self._clock = clock
        self._retention = retention
        self._kept = kept
        self._items = items
        self._rules = rules

    @property
    def steps(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """In the order in which a sweep runs them."""
        return (
            self.delete_files,
            self.forget_uploads,
            self.delete_work,
            self.delete_batches,
            self.forget_records,
            self.delete_leftovers,
            self.delete_orphans,
        )

    async def delete_files(self) -> None:
        """Expired files: the blob first, since a blob that stays is found again by its row."""
        rows, now = self._metadata.files, self._clock.now()

        async def delete(file: File) -> None:
            await self._files.delete(*blobs_of(file.id))
            await rows.delete(file.tenant, file.id)

        await self._items.drain(
            "delete_files",
            lambda limit: rows.expired(now, limit),
            delete,
            name=lambda file: file.id,
            page=LIMIT,
        )

    async def forget_uploads(self) -> None:
        """Rows and parts of uploads that expired an hour ago or more."""
        rows, before = self._metadata.uploads, self._clock.now() - _COMPLETING

        async def forget(upload: Upload) -> None:
            await self._files.delete_prefix(upload_prefix(upload.id))
            await rows.forget(upload.id)

        await self._items.drain(
            "forget_uploads",
            lambda limit: rows.expired(before, limit),
            forget,
            name=lambda upload: upload.id,
            page=LIMIT,
        )

    async def delete_work(self) -> None:
        """What only the work on ended batches needed."""

        async def delete(batch: Batch) -> None:
            await self._webhook_outbox.enqueue(batch)
            await self._files.delete_prefix(work_prefix(batch.id))
            await self._metadata.batches.swept(batch.id)

        await self._items.drain(
            "delete_work",
            lambda limit: self._metadata.batches.ended(limit=limit),
            delete,
            name=lambda batch: batch.id,
            page=LIMIT,
        )

    async def delete_batches(self) -> None:
        """Batches whose retention is over."""
        await self._retention.enforce()

    async def forget_records(self) -> None:
        """Delete old deliveries, processed events, claims and dead letters."""
        store, now = self._metadata, self._clock.now()
        records: Mapping[str, tuple[ExpiringRows, timedelta]] = {
            "claims": (store.claims, KEPT),
            # An hour longer than repeated events are refused.
            "causes": (store.processed_events, self._kept.causes + _HOUR),
            "dead letters": (store.dead_letters, self._kept.dead_letters),
            "deliveries": (store.webhooks, self._kept.deliveries),
            "usage": (store.usage, self._kept.usage),
            "audit": (store.audit, self._kept.audit),
        }

        async def forget(name: str) -> None:
            rows, kept = records[name]
            if not kept:
                return
            while await rows.forget(now - kept, LIMIT) == LIMIT:
                pass

        failed = await self._items.each("forget_records", list(records), forget, name=str)
        if failed:
            raise StepFailed(f"{failed} kinds of records are not forgotten")

    async def delete_leftovers(self) -> None:
        """Unfinished writes of the file store, once an hour."""
        if await self._coordination.once("leftovers", _HOUR):
            await self._files.sweep(self._old())

    async def delete_orphans(self) -> None:
        """Blobs that no row names, once a day."""
        if await self._coordination.once("orphans", _DAY):
            deleted = await delete_orphans(self._metadata, self._files, self._old())
            logger.info("Deleted %d orphaned blobs", deleted, extra={"action": "orphans"})

    def _old(self) -> datetime:
        """No process still writes what is older than this."""
        return self._clock.now() - timedelta(seconds=self._rules.leftovers_s)
