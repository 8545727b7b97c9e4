"""Rows of uploads in parts; a part of the metadata store (``ports.metadata``)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from batch_gateway.core.ids import TenantId, UploadId
from batch_gateway.core.model import File
from batch_gateway.core.quotas import NO_QUOTAS, Quotas
from batch_gateway.core.uploads import Upload, UploadPart


class UploadRows(Protocol):
    async def create(self, upload: Upload) -> None:
        """Raises Conflict when the id is taken."""
        ...

    async def get(self, tenant: TenantId, upload: UploadId) -> Upload | None:
        """None when there is none, or it is another tenant's."""
        ...

    async def add_part(
        self,
        tenant: TenantId,
        part: UploadPart,
        *,
        now: datetime,
        max_bytes: int,
        max_parts: int,
        quotas: Quotas = NO_QUOTAS,
    ) -> bool:
        """Record a part of a pending upload that has not expired at ``now``.

        False when the upload does not take it (look again), or when all its parts together would
        be more than ``max_bytes`` or ``max_parts``. Parts count as stored bytes as long as their
        upload is pending and not forgotten. Raises OverQuota.
        """
        ...

    async def parts(self, tenant: TenantId, upload: UploadId) -> Sequence[UploadPart]:
        """All parts of a pending upload, in no order; none when it is not pending."""
        ...

    async def complete(
        self,
        tenant: TenantId,
        upload: UploadId,
        file: File,
        *,
        receipt: str,
        quotas: Quotas = NO_QUOTAS,
    ) -> Upload | None:
        """pending -> completed, with the row of the ``file`` that it became; drops its parts.

        None when it is not pending. The caller checks its expiry: a request that was made in
        time may take longer. Raises Conflict when the file's id is taken; OverQuota.
        """
        ...

    async def cancel(self, tenant: TenantId, upload: UploadId, *, now: datetime) -> Upload | None:
        """pending -> cancelled unless it has expired at ``now``; drops its parts. None if not."""
        ...

    async def expired(
        self, before: datetime, limit: int, after: Upload | None = None
    ) -> Sequence[Upload]:
        """Uploads of all tenants and states with ``expires_at`` up to ``before``, oldest first.

        ``after`` continues behind the last one returned.
        """
        ...

    async def forget(self, upload: UploadId) -> None:
        """Drop an upload and its parts; the file that it became stays."""
        ...
