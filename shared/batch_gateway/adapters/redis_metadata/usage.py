"""Usage: a hash for each tenant and day, kept by the scripts that end batches."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import msgspec

from batch_gateway.adapters.redis_metadata.fields import Row
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts, translated
from batch_gateway.core.ids import TenantId
from batch_gateway.core.usage import UsageRecord

_PAGE = 500  # hashes read at a time
_decode_name = msgspec.json.Decoder(tuple[str, str]).decode  # API key, model


class RedisUsage:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._redis = scripts.redis
        self._keys = scripts.keys

    async def between(
        self, first: date, end: date, *, tenant: TenantId | None
    ) -> Sequence[UsageRecord]:
        days = [
            (day, owner)
            for day, owner in await self._days(f"[{first}", f"({end}")
            if tenant in (None, owner)
        ]
        found: list[UsageRecord] = []
        for start in range(0, len(days), _PAGE):
            page = days[start : start + _PAGE]
            async with translated(), self._redis.pipeline(transaction=False) as asking:
                for day, owner in page:
                    asking.hgetall(self._keys.usage(owner, day))
                hashes = await asking.execute()
            for (day, owner), amounts in zip(page, hashes, strict=True):
                found += _records(day, owner, amounts)
        return sorted(found, key=lambda r: (r.day, r.tenant, r.api_key, r.model))

    async def forget(self, before: datetime, limit: int) -> int:
        days = (await self._days("-", f"({before.astimezone(UTC).date()}"))[:limit]
        if not days:
            return 0
        async with translated(), self._redis.pipeline(transaction=True) as transaction:
            for day, owner in days:
                transaction.delete(self._keys.usage(owner, day))
                transaction.zrem(self._keys.usage_days, f"{day}:{owner}")
            await transaction.execute()
        return len(days)

    async def _days(self, least: str, most: str) -> list[tuple[date, TenantId]]:
        async with translated():
            members = await self._redis.zrangebylex(self._keys.usage_days, least, most)
        found = []
        for member in members:
            day, _, owner = str(member).partition(":")
            found.append((date.fromisoformat(day), TenantId(owner)))
        return found


def _records(day: date, tenant: TenantId, amounts: Row) -> list[UsageRecord]:
    by_name: dict[str, dict[str, int]] = {}
    for field, amount in amounts.items():
        kind, _, name = field.partition(":")
        by_name.setdefault(name, {})[kind] = int(amount)
    records = []
    for name, sums in by_name.items():
        api_key, model = _decode_name(name)
        records.append(UsageRecord(day=day, tenant=tenant, api_key=api_key, model=model, **sums))
    return records
