"""Usage rows: sums over ended batches, kept in the transactions that end them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.dialects import insert_on
from batch_gateway.adapters.sql.schema import batch_summaries, usage
from batch_gateway.core.engine_values import MOST
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.usage import AMOUNTS, BatchReport, UsageRecord

_ADD_SUMMARY = sa.insert(batch_summaries)
_KEY = (usage.c.day, usage.c.tenant, usage.c.api_key, usage.c.model)


class SqlUsage:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def between(
        self, first: date, end: date, *, tenant: TenantId | None
    ) -> Sequence[UsageRecord]:
        query = sa.select(usage).where(usage.c.day >= first, usage.c.day < end)
        if tenant is not None:
            query = query.where(usage.c.tenant == tenant)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        records = [UsageRecord(**row._mapping) for row in rows]
        return sorted(records, key=lambda r: (r.day, r.tenant, r.api_key, r.model))

    async def forget(self, before: datetime, limit: int) -> int:
        day = before.astimezone(UTC).date()
        oldest = sa.select(*_KEY).where(usage.c.day < day).order_by(usage.c.day).limit(limit)
        change = sa.delete(usage).where(sa.tuple_(*_KEY).in_(oldest))
        async with self._database.writing() as connection:
            return (await connection.execute(change)).rowcount


async def add_report(
    connection: AsyncConnection, batch: BatchId, report: BatchReport | None
) -> None:
    """Keep the report of a batch that ends in this transaction."""
    if report is not None:
        await add_reports(connection, [(batch, report)])


async def add_reports(
    connection: AsyncConnection, reports: Sequence[tuple[BatchId, BatchReport]]
) -> None:
    """Keep the reports of batches that end in this transaction.

    Rows of usage are changed in the order of their keys, so two transactions never wait for each
    other.
    """
    if not reports:
        return
    summaries = [{"batch_id": batch, "summary": report.summary} for batch, report in reports]
    await connection.execute(_ADD_SUMMARY, summaries)
    records = [record for _, report in reports for record in report.usage]
    records.sort(key=lambda r: (r.day, r.tenant, r.api_key, r.model))
    if records:
        await connection.execute(_adding(connection.dialect.name), list(map(asdict, records)))


@cache
def _adding(dialect: str) -> sa.Insert:
    """Makes a row of usage, or adds to the one that there is."""
    insert = insert_on(dialect, usage)
    sums = {name: _sum(name, insert.excluded[name]) for name in AMOUNTS}
    return insert.on_conflict_do_update(index_elements=list(_KEY), set_=sums)


def _sum(name: str, more: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A sum that ends at the largest integer: neither database would store a greater one."""
    known = usage.c[name]
    return sa.case((known > sa.literal(MOST, sa.BigInteger) - more, MOST), else_=known + more)
