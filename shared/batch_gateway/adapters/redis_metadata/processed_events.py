"""ProcessedEventRows: external events that already created a batch."""

from datetime import datetime

from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts
from batch_gateway.core.ids import BatchId


class RedisProcessedEvents:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._scripts = scripts

    async def find(self, cause: str) -> BatchId | None:
        found = await self._scripts.run("caused", cause=cause)
        return None if found is None else BatchId(found)

    async def forget(self, before: datetime, limit: int) -> int:
        return int(await self._scripts.run("forget_causes", before=before, limit=limit))
