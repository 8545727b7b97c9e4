"""Rows of the audit log."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from batch_gateway.adapters.checked import checked
from batch_gateway.adapters.corrupt_rows import decodable
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.gathered_writes import WriteCoalescer
from batch_gateway.adapters.sql.rows import Row, columns_of
from batch_gateway.adapters.sql.schema import audit
from batch_gateway.core.audit import AuditEntry
from batch_gateway.ports.audit import ALL_ENTRIES, AuditFilter

_ADD = sa.insert(audit)


class SqlAudit:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self._adding = WriteCoalescer(self._add)

    async def add(self, entry: AuditEntry) -> None:
        await self._adding.add(entry)

    async def _add(self, entries: Sequence[AuditEntry]) -> Sequence[None]:
        async with self._database.writing() as connection:
            await connection.execute(_ADD, [asdict(entry) for entry in entries])
        return [None] * len(entries)

    async def close(self) -> None:
        await self._adding.close()

    async def list(
        self, *, limit: int, after: str | None = None, only: AuditFilter = ALL_ENTRIES
    ) -> Sequence[AuditEntry]:
        query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
        if after is not None:
            query = query.where(audit.c.id < after)
        for name in ("tenant", "action", "target"):
            if (wanted := getattr(only, name)) is not None:
                query = query.where(audit.c[name] == wanted)
        if only.since is not None:
            query = query.where(audit.c.at >= only.since)
        if only.before is not None:
            query = query.where(audit.c.at < only.before)
        async with self._database.reading() as connection:
            return decodable(await connection.execute(query), _to_entry)

    async def forget(self, before: datetime, limit: int) -> int:
        oldest = sa.select(audit.c.id).where(audit.c.at < before).order_by(audit.c.id).limit(limit)
        async with self._database.writing() as connection:
            change = sa.delete(audit).where(audit.c.id.in_(oldest))
            return (await connection.execute(change)).rowcount


def _to_entry(row: Row) -> AuditEntry:
    """Raises CorruptRow."""
    return checked("audit entry", AuditEntry, columns_of(row))
