"""The coordination store plug-in of redis, rediss, valkey, valkeys and unix URLs."""

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore, open_scratch
from batch_gateway.core.ids import TenantId
from batch_gateway.settings import Settings


def open_store(settings: Settings) -> RedisCoordinationStore:
    return open_scratch(
        settings.scratch.url.get_secret_value(),
        prefix=settings.scratch.prefix,
        limits=lambda: settings.limits,
        weights=lambda: {TenantId(name): w for name, w in settings.queue.tenant_weights.items()},
    )
