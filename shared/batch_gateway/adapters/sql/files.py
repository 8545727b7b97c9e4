"""File rows."""

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa

from batch_gateway.adapters.sql.accounts import book, of_files
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.paging import listing, rows
from batch_gateway.adapters.sql.rows import file_columns, to_file
from batch_gateway.adapters.sql.schema import EXPIRES, files
from batch_gateway.core.ids import FileId, TenantId
from batch_gateway.core.model import File
from batch_gateway.core.quotas import NO_QUOTAS, Quotas
from batch_gateway.ports.metadata import Page

_OF_TENANT = sa.select(files).where(
    files.c.id == sa.bindparam("file"), files.c.tenant == sa.bindparam("of_tenant")
)


class SqlFiles:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, file: File, *, quotas: Quotas = NO_QUOTAS) -> None:
        async with self._database.writing() as connection:
            await connection.execute(sa.insert(files), file_columns(file))
            await book(connection, file.tenant, of_files(file), quotas)

    async def get(self, tenant: TenantId, file: FileId) -> File | None:
        async with self._database.reading() as connection:
            found = await connection.execute(_OF_TENANT, {"file": file, "of_tenant": tenant})
            row = found.one_or_none()
        return None if row is None else to_file(row)

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
        of_purpose = [] if purpose is None else [files.c.purpose == purpose]
        return await listing(
            self._database,
            files,
            tenant,
            to_file,
            *of_purpose,
            after=after,
            offset=offset,
            descending=descending,
            limit=limit,
        )

    async def delete(self, tenant: TenantId, file: FileId) -> File | None:
        change = (
            sa.delete(files).where(files.c.id == file, files.c.tenant == tenant).returning(files)
        )
        async with self._database.writing() as connection:
            row = (await connection.execute(change)).one_or_none()
            if row is None:
                return None
            deleted = to_file(row)
            await book(connection, tenant, of_files(deleted, sign=-1))
        return deleted

    async def expired(self, now: datetime, limit: int) -> Sequence[File]:
        query = (
            sa.select(files)
            .where(EXPIRES, files.c.expires_at <= now)
            .order_by(files.c.expires_at, files.c.id)
        )
        return await rows(self._database, query, to_file, limit)

    async def existing(self, names: Sequence[FileId]) -> Collection[FileId]:
        query = sa.select(files.c.id).where(files.c.id.in_(names))
        async with self._database.reading() as connection:
            return {FileId(name) for name in await connection.scalars(query)}
