"""FileRows: file rows, a tenant's listings, and the index by expiry."""

from collections.abc import Collection, Sequence
from datetime import datetime

from batch_gateway.adapters.redis_metadata.accounts import from_quotas
from batch_gateway.adapters.redis_metadata.codec import from_file, to_file
from batch_gateway.adapters.redis_metadata.fields import row
from batch_gateway.adapters.redis_metadata.paging import due, listing
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts, translated
from batch_gateway.core.ids import FileId, TenantId
from batch_gateway.core.model import File
from batch_gateway.core.quotas import NO_QUOTAS, Quotas
from batch_gateway.ports.metadata import Page


class RedisFiles:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._scripts = scripts

    async def add(self, file: File, *, quotas: Quotas = NO_QUOTAS) -> None:
        await self._scripts.run("add_file", file=from_file(file), quotas=from_quotas(quotas))

    async def get(self, tenant: TenantId, file: FileId) -> File | None:
        found = await self._scripts.row(self._scripts.keys.file(file))
        return to_file(found) if found.get("tenant") == tenant else None

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
        return await listing(
            self._scripts,
            "file",
            tenant,
            to_file,
            purpose=purpose,
            after=after,
            offset=offset,
            descending=descending,
            limit=limit,
        )

    async def delete(self, tenant: TenantId, file: FileId) -> File | None:
        found = await self._scripts.run("delete_file", tenant=tenant, file=file)
        return None if found is None else to_file(row(found))

    async def expired(self, now: datetime, limit: int) -> Sequence[File]:
        return await due(self._scripts, "file", "files-by-expiry", to_file, until=now, limit=limit)

    async def existing(self, files: Sequence[FileId]) -> Collection[FileId]:
        async with translated(), self._scripts.redis.pipeline(transaction=False) as questions:
            for file in files:
                questions.exists(self._scripts.keys.file(file))
            answers = await questions.execute()
        return {file for file, there in zip(files, answers, strict=True) if there}
