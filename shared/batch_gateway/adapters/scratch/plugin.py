"""The scratch store plug-in of redis, rediss, valkey, valkeys and unix URLs."""

from datetime import timedelta

from batch_gateway.adapters.scratch import RedisScratchStore, SlotRules, open_late
from batch_gateway.core.ids import TenantId
from batch_gateway.settings import Settings


def open_store(settings: Settings) -> RedisScratchStore:
    def slots() -> SlotRules:
        limits = settings.limits
        interval = timedelta(seconds=limits.interval_s)
        return SlotRules(limits=limits.rules, interval=interval, total=limits.total)

    return open_late(
        settings.scratch.url.get_secret_value(),
        prefix=settings.scratch.prefix,
        slots=slots,
        weights=lambda: {TenantId(name): w for name, w in settings.queue.tenant_weights.items()},
    )
