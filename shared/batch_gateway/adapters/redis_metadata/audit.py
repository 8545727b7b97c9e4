"""The audit log: a hash of entries, and a set of their ids, which are ordered by time."""

from collections.abc import Sequence
from datetime import datetime

from batch_gateway.adapters.corrupt_rows import decodable, decoding
from batch_gateway.adapters.redis_metadata.fields import json_type
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts, translated
from batch_gateway.core.audit import AuditEntry, audit_id
from batch_gateway.ports.audit import ALL_ENTRIES, AuditFilter

_PAGE = 500  # entries read at a time
_ENTRY = json_type(AuditEntry)


class RedisAudit:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._redis = scripts.redis
        self._keys = scripts.keys

    async def add(self, entry: AuditEntry) -> None:
        async with translated(), self._redis.pipeline(transaction=True) as transaction:
            transaction.hset(self._keys.audit, entry.id, _ENTRY.write(entry))
            transaction.zadd(self._keys.audit_ids, {entry.id: 0})
            await transaction.execute()

    async def list(
        self, *, limit: int, after: str | None = None, only: AuditFilter = ALL_ENTRIES
    ) -> Sequence[AuditEntry]:
        found: list[AuditEntry] = []
        last, least = after, "-" if only.since is None else f"[{_first_id(only.since)}"
        while len(found) < limit:
            most = "+" if last is None else f"({last}"
            async with translated():
                page = await self._redis.zrevrangebylex(
                    self._keys.audit_ids, most, least, start=0, num=_PAGE
                )
                ids = [str(name) for name in page]
                texts = await self._redis.hmget(self._keys.audit, ids) if ids else []
            pairs = [(name, str(text)) for name, text in zip(ids, texts, strict=True) if text]
            found += [entry for entry in decodable(pairs, _to_entry) if only.admits(entry)]
            if len(ids) < _PAGE:
                break
            last = ids[-1]
        return found[:limit]

    async def forget(self, before: datetime, limit: int) -> int:
        async with translated():
            ids = await self._redis.zrangebylex(
                self._keys.audit_ids, "-", f"({_first_id(before)}", start=0, num=limit
            )
            if not ids:
                return 0
            async with self._redis.pipeline(transaction=True) as transaction:
                transaction.zrem(self._keys.audit_ids, *ids)
                transaction.hdel(self._keys.audit, *map(str, ids))
                await transaction.execute()
        return len(ids)


def _first_id(instant: datetime) -> str:
    """The least id that an entry of ``instant`` can have."""
    return audit_id(instant, bytes(4))


def _to_entry(pair: tuple[str, str]) -> AuditEntry:
    name, text = pair
    with decoding("audit entry", name):
        entry: AuditEntry = _ENTRY.read(text)
        return entry
