"""The metadata store plug-in of redis, rediss, valkey and valkeys URLs."""

from collections.abc import Callable

from batch_gateway.adapters.redis_metadata.store import RedisMetadata, open_redis_metadata
from batch_gateway.settings import Settings


async def open_store(settings: Settings, *, on_full: Callable[[], None]) -> RedisMetadata:
    url = settings.metadata.url.get_secret_value()
    return open_redis_metadata(url, prefix=settings.scratch.prefix, on_full=on_full)


async def migrate(settings: Settings) -> str:
    store = await open_store(settings, on_full=lambda: None)
    try:
        await store.check()
    finally:
        await store.close()
    return "metadata is on Redis, which needs no migration"
