"""Rows of uploads and their parts.

Every change of an upload begins with one UPDATE under its conditions: that locks its row, so parts
are added, and the upload completed or cancelled, one after the other.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.checked import checked
from batch_gateway.adapters.sql.accounts import book
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.paging import rows
from batch_gateway.adapters.sql.rows import Row, columns_of, file_columns
from batch_gateway.adapters.sql.schema import UtcTimestamp, files, upload_parts, uploads
from batch_gateway.core.ids import TenantId, UploadId
from batch_gateway.core.model import File
from batch_gateway.core.quotas import NO_QUOTAS, Quotas, QuotaUsage
from batch_gateway.core.uploads import Upload, UploadPart, UploadStatus

_COLUMNS = (
    "id",
    "tenant",
    "status",
    "purpose",
    "filename",
    "size",
    "created_at",
    "expires_at",
    "file_lifetime_s",
    "file_id",
    "receipt",
)


class SqlUploads:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def create(self, upload: Upload) -> None:
        columns = {name: getattr(upload, name) for name in _COLUMNS}
        async with self._database.writing() as connection:
            await connection.execute(sa.insert(uploads).values(**columns, parts=0, stored=0))

    async def get(self, tenant: TenantId, upload: UploadId) -> Upload | None:
        query = sa.select(uploads).where(uploads.c.id == upload, uploads.c.tenant == tenant)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _to_upload(row)

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
        counted = (
            sa.update(uploads)
            .where(
                _pending(tenant, part.upload),
                uploads.c.expires_at > now,
                uploads.c.parts < max_parts,
                uploads.c.stored + part.size <= max_bytes,
            )
            .values(parts=uploads.c.parts + 1, stored=uploads.c.stored + part.size)
        )
        added = sa.insert(upload_parts).values(
            upload_id=part.upload, id=part.id, size=part.size, created_at=part.created_at
        )
        async with self._database.writing() as connection:
            if (await connection.execute(counted)).rowcount != 1:
                return False
            await connection.execute(added)
            await book(connection, tenant, QuotaUsage(stored_bytes=part.size), quotas)
        return True

    async def parts(self, tenant: TenantId, upload: UploadId) -> Sequence[UploadPart]:
        query = (
            sa.select(upload_parts)
            .join(uploads, uploads.c.id == upload_parts.c.upload_id)
            .where(_pending(tenant, upload))
        )
        async with self._database.reading() as connection:
            return [_to_part(row) for row in await connection.execute(query)]

    async def complete(
        self,
        tenant: TenantId,
        upload: UploadId,
        file: File,
        *,
        receipt: str,
        quotas: Quotas = NO_QUOTAS,
    ) -> Upload | None:
        completed = {
            "status": UploadStatus.COMPLETED,
            "file_id": file.id,
            "receipt": receipt,
        }
        async with self._database.writing() as connection:
            ended = await _end(connection, _pending(tenant, upload), completed)
            if ended is None:
                return None
            await connection.execute(sa.insert(files).values(file_columns(file)))
            change = QuotaUsage(files=1, stored_bytes=file.size - ended.stored)
            await book(connection, tenant, change, quotas)
        return _to_upload(ended)

    async def cancel(self, tenant: TenantId, upload: UploadId, *, now: datetime) -> Upload | None:
        in_time = sa.and_(_pending(tenant, upload), uploads.c.expires_at > now)
        async with self._database.writing() as connection:
            ended = await _end(connection, in_time, {"status": UploadStatus.CANCELLED})
            if ended is None:
                return None
            await book(connection, tenant, QuotaUsage(stored_bytes=-ended.stored))
        return _to_upload(ended)

    async def expired(
        self, before: datetime, limit: int, after: Upload | None = None
    ) -> Sequence[Upload]:
        behind: list[sa.ColumnElement[bool]] = []
        if after is not None:
            last = sa.tuple_(sa.literal(after.expires_at, UtcTimestamp), sa.literal(after.id))
            behind.append(sa.tuple_(uploads.c.expires_at, uploads.c.id) > last)
        query = (
            sa.select(uploads)
            .where(uploads.c.expires_at <= before, *behind)
            .order_by(uploads.c.expires_at, uploads.c.id)
        )
        return await rows(self._database, query, _to_upload, limit)

    async def forget(self, upload: UploadId) -> None:
        async with self._database.writing() as connection:
            # Locked before its parts are dropped, so that none is added in between.
            locked = sa.select(uploads).where(uploads.c.id == upload).with_for_update()
            row = (await connection.execute(locked)).one_or_none()
            if row is None:
                return
            await connection.execute(
                sa.delete(upload_parts).where(upload_parts.c.upload_id == upload)
            )
            await connection.execute(sa.delete(uploads).where(uploads.c.id == upload))
            if row.status == UploadStatus.PENDING:
                await book(connection, TenantId(row.tenant), QuotaUsage(stored_bytes=-row.stored))


def _pending(tenant: TenantId, upload: UploadId) -> sa.ColumnElement[bool]:
    return sa.and_(
        uploads.c.id == upload,
        uploads.c.tenant == tenant,
        uploads.c.status == UploadStatus.PENDING,
    )


async def _end(
    connection: AsyncConnection, condition: sa.ColumnElement[bool], values: dict[str, Any]
) -> Row | None:
    """Change the upload that meets ``condition`` and drop its parts; None when none does."""
    change = sa.update(uploads).where(condition).values(values).returning(uploads)
    row: Row | None = (await connection.execute(change)).one_or_none()
    if row is not None:
        await connection.execute(sa.delete(upload_parts).where(upload_parts.c.upload_id == row.id))
    return row


def _to_upload(row: Row) -> Upload:
    """Raises CorruptRow."""
    return checked("upload", Upload, columns_of(row))


def _to_part(row: Row) -> UploadPart:
    """Raises CorruptRow."""
    return checked("upload part", UploadPart, {**columns_of(row), "upload": row.upload_id})
