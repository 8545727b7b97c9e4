"""UploadRows: rows of uploads, the parts of each, and the index by expiry."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from batch_gateway.adapters.corrupt_rows import decoding
from batch_gateway.adapters.redis_metadata.accounts import from_quotas
from batch_gateway.adapters.redis_metadata.codec import from_file, from_upload, to_upload
from batch_gateway.adapters.redis_metadata.fields import json_text, micros, row
from batch_gateway.adapters.redis_metadata.paging import due
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts
from batch_gateway.core.ids import TenantId, UploadId
from batch_gateway.core.model import File
from batch_gateway.core.quotas import NO_QUOTAS, Quotas
from batch_gateway.core.uploads import Upload, UploadPart

_decode_part = msgspec.json.Decoder(UploadPart).decode


class RedisUploads:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._scripts = scripts

    async def create(self, upload: Upload) -> None:
        await self._scripts.run("create_upload", upload=from_upload(upload))

    async def get(self, tenant: TenantId, upload: UploadId) -> Upload | None:
        found = await self._scripts.row(self._scripts.keys.upload(upload))
        return to_upload(found) if found.get("tenant") == tenant else None

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
        added = await self._scripts.run(
            "add_upload_part",
            tenant=tenant,
            upload=part.upload,
            part=part.id,
            body=json_text(part),
            size=part.size,
            now=now,
            max_bytes=max_bytes,
            max_parts=max_parts,
            quotas=from_quotas(quotas),
        )
        return bool(added)

    async def parts(self, tenant: TenantId, upload: UploadId) -> Sequence[UploadPart]:
        bodies = await self._scripts.run("upload_parts", tenant=tenant, upload=upload)
        with decoding("upload part", upload):  # one that is left out would be missing in the file
            return [_decode_part(body) for body in bodies]

    async def complete(
        self,
        tenant: TenantId,
        upload: UploadId,
        file: File,
        *,
        receipt: str,
        quotas: Quotas = NO_QUOTAS,
    ) -> Upload | None:
        found = await self._scripts.run(
            "complete_upload",
            tenant=tenant,
            upload=upload,
            file=from_file(file),
            receipt=receipt,
            quotas=from_quotas(quotas),
        )
        return None if found is None else to_upload(row(found))

    async def cancel(self, tenant: TenantId, upload: UploadId, *, now: datetime) -> Upload | None:
        found = await self._scripts.run("cancel_upload", tenant=tenant, upload=upload, now=now)
        return None if found is None else to_upload(row(found))

    async def expired(
        self, before: datetime, limit: int, after: Upload | None = None
    ) -> Sequence[Upload]:
        last = None if after is None else {"id": after.id, "score": micros(after.expires_at)}
        return await due(
            self._scripts,
            "upload",
            "uploads-by-expiry",
            to_upload,
            until=before,
            after=last,
            limit=limit,
        )

    async def forget(self, upload: UploadId) -> None:
        await self._scripts.run("forget_upload", upload=upload)
