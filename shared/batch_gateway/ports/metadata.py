"""The metadata store: the source of truth about files, batches and shards.

Split by aggregate; each method is one transaction. All of them raise Unavailable when the
database does not answer. Losing a race is ``None``, ``False`` or an empty result.

Locks are always taken in the order batch, shards ascending, outbox. A method that returns events'
effects writes ``events`` to the outbox in the same transaction; writing an event whose id is
already there is no error and changes nothing. An event's age counts from the ``now`` of the call
that wrote it (``create``: from the batch's creation).
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from batch_gateway.core.ids import FileId, TenantId
from batch_gateway.core.model import (
    File,
)
from batch_gateway.core.quotas import NO_QUOTAS, Quotas
from batch_gateway.ports.accounts import QuotaUsageRows
from batch_gateway.ports.api_keys import ApiKeyRows as ApiKeyRows
from batch_gateway.ports.api_keys import IdempotencyClaimRows as IdempotencyClaimRows
from batch_gateway.ports.audit import AuditRows
from batch_gateway.ports.batches import BatchRows
from batch_gateway.ports.dead_letters import DeadLetterRows
from batch_gateway.ports.outbox import EventOutbox
from batch_gateway.ports.pages import Page as Page
from batch_gateway.ports.processed_events import ProcessedEventRows
from batch_gateway.ports.shards import ShardRows
from batch_gateway.ports.uploads import UploadRows
from batch_gateway.ports.usage import UsageRows
from batch_gateway.ports.webhooks import WebhookRows


class FileRows(Protocol):
    async def add(self, file: File, *, quotas: Quotas = NO_QUOTAS) -> None:
        """Raises Conflict when the id is taken; OverQuota."""
        ...

    async def get(self, tenant: TenantId, file: FileId) -> File | None:
        """None when there is none, or it is another tenant's."""
        ...

    async def list(
        self,
        tenant: TenantId,
        *,
        limit: int,
        after: FileId | None = None,
        offset: int = 0,
        purpose: str | None = None,
        descending: bool = True,
    ) -> Page[File] | None:
        """Files by creation (ties by id), without the first ``offset`` of them.

        None when ``after`` names no file of the tenant.
        """
        ...

    async def delete(self, tenant: TenantId, file: FileId) -> File | None:
        """Remove the row and return what it was; the caller deletes the blob."""
        ...

    async def expired(self, now: datetime, limit: int) -> Sequence[File]:
        """Files of all tenants whose ``expires_at`` has passed, the first to expire first."""
        ...

    async def existing(self, files: Sequence[FileId]) -> Collection[FileId]:
        """Those of up to 1,000 ``files`` that there are, of whichever tenant (for sweeps)."""
        ...


class MetadataStore(Protocol):
    """All aggregates on one database."""

    @property
    def accounts(self) -> QuotaUsageRows: ...

    @property
    def files(self) -> FileRows: ...

    @property
    def uploads(self) -> UploadRows: ...

    @property
    def batches(self) -> BatchRows: ...

    @property
    def shards(self) -> ShardRows: ...

    @property
    def outbox(self) -> EventOutbox: ...

    @property
    def api_keys(self) -> ApiKeyRows: ...

    @property
    def claims(self) -> IdempotencyClaimRows: ...

    @property
    def processed_events(self) -> ProcessedEventRows: ...

    @property
    def dead_letters(self) -> DeadLetterRows: ...

    @property
    def webhooks(self) -> WebhookRows: ...

    @property
    def usage(self) -> UsageRows: ...

    @property
    def audit(self) -> AuditRows: ...

    async def check(self) -> None:
        """Raise Unavailable when the database does not answer or its schema is not ours."""
        ...

    async def close(self) -> None: ...
