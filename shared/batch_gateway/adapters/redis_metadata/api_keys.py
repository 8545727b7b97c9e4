"""ApiKeyRows: API keys, found by their digest."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from batch_gateway.adapters.corrupt_rows import decodable
from batch_gateway.adapters.redis_metadata.codec import from_api_key, to_api_key
from batch_gateway.adapters.redis_metadata.fields import row
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts
from batch_gateway.core.api_keys import ApiKey
from batch_gateway.core.ids import TenantId


class RedisApiKeys:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._scripts = scripts

    async def add(self, key: ApiKey) -> None:
        await self._scripts.run("add_api_key", api_key=from_api_key(key))

    async def find(self, digest: str) -> ApiKey | None:
        found = await self._scripts.run("find_api_key", digest=digest)
        return None if found is None else to_api_key(row(found))

    async def list(self, tenant: TenantId | None = None) -> Sequence[ApiKey]:
        rows = await self._scripts.run("api_keys", tenant=tenant)
        return decodable([row(found) for found in rows], to_api_key)

    async def revoke(self, key: str, *, now: datetime) -> ApiKey | None:
        found = await self._scripts.run("revoke_api_key", api_key=key, now=now)
        return None if found is None else to_api_key(row(found))

    async def used(self, key: str, *, now: datetime, apart: timedelta) -> None:
        await self._scripts.run("use_api_key", api_key=key, now=now, before=now - apart)
