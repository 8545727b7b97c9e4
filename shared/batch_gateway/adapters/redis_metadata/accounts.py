"""Accounts: a hash per tenant, updated by the scripts that change files and batches."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import cast

from redis.exceptions import WatchError

from batch_gateway.adapters.redis_metadata.fields import Row
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts, translated
from batch_gateway.core.ids import BatchId, FileId, TenantId, UploadId
from batch_gateway.core.model import OPEN
from batch_gateway.core.quotas import Quotas, QuotaUsage
from batch_gateway.core.uploads import UploadStatus

_PAGE = 500  # rows read at a time
_ATTEMPTS = 3  # at counting while nothing changes


class RedisQuotaUsage:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._scripts = scripts
        self._redis = scripts.redis
        self._keys = scripts.keys

    async def get(self, tenant: TenantId) -> QuotaUsage:
        amounts = await self._scripts.row(self._keys.account(tenant))
        return QuotaUsage(**{name: int(amount) for name, amount in amounts.items()})

    async def tenants(self) -> AsyncIterator[TenantId]:
        cursor = 0
        while True:
            async with translated():
                cursor, keys = await self._redis.scan(cursor, self._keys.accounts, _PAGE)
            for key in keys:
                words = str(key).removeprefix(f"{self._keys.root}:account:").partition(":")
                yield TenantId(words[2])
            if not cursor:
                return

    async def recount(self, tenant: TenantId) -> bool:
        """Count without a lock; every change of what is counted changes the account, too."""
        key = self._keys.account(tenant)
        for _ in range(_ATTEMPTS):
            async with self._redis.pipeline() as watching:
                async with translated():
                    await watching.watch(key)
                has, counted = await self.get(tenant), await self._counted(tenant)
                if has == counted:
                    return False
                watching.multi()  # type: ignore[no-untyped-call]
                for name, amount in asdict(counted).items():
                    watching.hset(key, name, str(amount))
                async with translated():
                    try:
                        await watching.execute()
                    except WatchError:
                        continue
                return True
        return False

    async def _counted(self, tenant: TenantId) -> QuotaUsage:
        """The usage of a tenant as counted from its rows."""
        files = stored = 0
        async for ids in self._files(tenant):
            for (size,) in await self._fields([self._keys.file(id_) for id_ in ids], "size"):
                files, stored = files + (size is not None), stored + int(size or 0)
        uploads = await self._members(self._keys.uploads_by_expiry)
        keys = [self._keys.upload(UploadId(id_)) for id_ in uploads]
        for owner, status, size in await self._fields(keys, "tenant", "status", "stored"):
            if owner == tenant and status == UploadStatus.PENDING:
                stored += int(size or 0)
        batches = await self._members(*map(self._keys.batches_by_status, OPEN))
        keys = [self._keys.batch(BatchId(id_)) for id_ in batches]
        totals = [
            int(total or 0)
            for owner, status, total in await self._fields(keys, "tenant", "status", "total")
            if owner == tenant and status in OPEN
        ]
        return QuotaUsage(
            files=files,
            stored_bytes=stored,
            open_batches=len(totals),
            queued_requests=sum(totals),
        )

    async def _files(self, tenant: TenantId) -> AsyncIterator[Sequence[FileId]]:
        """A tenant's files. When the listing changes, so does the account."""
        listing, start = self._keys.of_tenant("files-of", tenant), 0
        while True:
            async with translated():
                found = await self._redis.zrange(listing, start, start + _PAGE - 1)
            page = cast(list[str], found)  # the client decodes
            yield [FileId(member.partition(":")[2]) for member in page]
            if len(page) < _PAGE:
                return
            start += _PAGE

    async def _members(self, *indexes: str) -> set[str]:
        """What is in any of the indexes all the time, or moves from one to a later one."""
        found: set[str] = set()
        for index in indexes:
            cursor = 0
            while True:
                async with translated():
                    cursor, page = await self._redis.zscan(index, cursor, count=_PAGE)
                found.update(member for member, _ in page)
                if not cursor:
                    break
        return found

    async def _fields(self, keys: Sequence[str], *names: str) -> list[list[str | None]]:
        found: list[list[str | None]] = []
        for first in range(0, len(keys), _PAGE):
            async with translated(), self._redis.pipeline(transaction=False) as asking:
                for key in keys[first : first + _PAGE]:
                    asking.hmget(key, names)
                found += await asking.execute()
        return found


def from_quotas(quotas: Quotas) -> Row:
    """Those that limit anything."""
    return {name: str(limit) for name, limit in asdict(quotas).items() if limit}
