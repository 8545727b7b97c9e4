"""Accounts of tenants, updated in the transactions that change them.

A transaction changes the account last: the row is locked until the commit, and no transaction waits
for another row while it holds this lock.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.dialects import insert_on
from batch_gateway.adapters.sql.schema import accounts, batches, files, uploads
from batch_gateway.core.errors import OverQuota
from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import TERMINAL, Batch, BatchStatus, File
from batch_gateway.core.quotas import NO_QUOTAS, Quotas, QuotaUsage
from batch_gateway.core.uploads import UploadStatus

_NAMES = tuple(QuotaUsage.__dataclass_fields__)
_PAGE = 500  # tenants read at a time


class SqlQuotaUsage:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def get(self, tenant: TenantId) -> QuotaUsage:
        query = sa.select(accounts).where(accounts.c.tenant == tenant)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return QuotaUsage() if row is None else _to_account(row._mapping)

    async def tenants(self) -> AsyncIterator[TenantId]:
        last = ""
        while True:
            query = sa.select(accounts.c.tenant).where(accounts.c.tenant > last)
            async with self._database.reading() as connection:
                page = await connection.scalars(query.order_by(accounts.c.tenant).limit(_PAGE))
                names = page.all()
            for name in names:
                yield TenantId(name)
            if len(names) < _PAGE:
                return
            last = names[-1]

    async def recount(self, tenant: TenantId) -> bool:
        """With the account locked: concurrent changes are booked after this one."""
        own = accounts.c.tenant == tenant
        async with self._database.writing() as connection:
            locked = sa.select(accounts).where(own).with_for_update()
            row = (await connection.execute(locked)).one_or_none()
            if row is None:
                return False
            counted = await _counted(connection, tenant)
            if counted == _to_account(row._mapping):
                return False
            await connection.execute(sa.update(accounts).where(own).values(asdict(counted)))
        return True


async def _counted(connection: AsyncConnection, tenant: TenantId) -> QuotaUsage:
    """The usage of a tenant as counted from its rows."""
    number = sa.func.count()

    def total(column: sa.Column[int]) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.coalesce(sa.func.sum(column), 0), sa.BigInteger)

    kept = sa.select(number, total(files.c.size)).where(files.c.tenant == tenant)
    coming = sa.select(total(uploads.c.stored)).where(
        uploads.c.tenant == tenant, uploads.c.status == UploadStatus.PENDING
    )
    opened = sa.select(number, total(batches.c.total)).where(
        batches.c.tenant == tenant,
        batches.c.status.in_([status for status in BatchStatus if status not in TERMINAL]),
    )
    file_count, file_bytes = (await connection.execute(kept)).one()
    part_bytes = (await connection.execute(coming)).scalar_one()
    batch_count, requests = (await connection.execute(opened)).one()
    return QuotaUsage(
        files=file_count,
        stored_bytes=file_bytes + part_bytes,
        open_batches=batch_count,
        queued_requests=requests,
    )


async def book(
    connection: AsyncConnection, tenant: TenantId, added: QuotaUsage, quotas: Quotas = NO_QUOTAS
) -> None:
    """Add to a tenant's account. Raises OverQuota, which undoes the transaction."""
    more = {name: getattr(added, name) for name in _NAMES}
    if not any(more.values()):
        return
    booked = await connection.execute(_booking(connection.dialect.name), {"tenant": tenant, **more})
    then = _to_account(booked.one()._mapping)
    if (name := quotas.exceeded(then, added)) is not None:
        raise OverQuota(name, getattr(quotas, name))


async def book_all(
    connection: AsyncConnection, added: Mapping[tuple[TenantId, Quotas], int], name: str
) -> None:
    """Add so much of ``name`` to the accounts of several tenants. Raises OverQuota.

    In the order of their names, so two transactions never wait for each other.
    """
    for (tenant, quotas), amount in sorted(added.items(), key=lambda of: of[0][0]):
        await book(connection, tenant, QuotaUsage(**{name: amount}), quotas)


async def book_ended(
    connection: AsyncConnection, ended: Iterable[tuple[Batch, Sequence[File]]]
) -> None:
    """Book what batches change by ending with their files; each batch as it was before.

    In the order of the tenants' names, so two transactions never wait for each other.
    """
    sums = defaultdict[TenantId, Counter[str]](Counter)
    for batch, made in ended:
        sums[batch.tenant].update(asdict(of_ended(batch, *made)))
    for tenant, added in sorted(sums.items()):
        await book(connection, tenant, QuotaUsage(**added))


@cache
def _booking(dialect: str) -> sa.Insert:
    """Makes an account, or adds to the one that there is; the row as it is then."""
    insert = insert_on(dialect, accounts)
    return insert.on_conflict_do_update(
        index_elements=[accounts.c.tenant],
        set_={name: accounts.c[name] + insert.excluded[name] for name in _NAMES},
    ).returning(accounts)


async def lock_account(connection: AsyncConnection, tenant: TenantId) -> None:
    """Lock a tenant's account until the transaction ends; an empty one is made if there is none.

    Only for transactions that wait for no other row afterwards.
    """
    insert = insert_on(connection.dialect.name, accounts).values(
        tenant=tenant, **asdict(QuotaUsage())
    )
    await connection.execute(
        insert.on_conflict_do_update(
            index_elements=[accounts.c.tenant], set_={"tenant": accounts.c.tenant}
        )
    )


def of_files(*files: File, sign: int = 1) -> QuotaUsage:
    """What ``files`` add to an account; ``sign`` -1: what they take from it."""
    return QuotaUsage(files=sign * len(files), stored_bytes=sign * sum(file.size for file in files))


def of_ended(batch: Batch, *files: File) -> QuotaUsage:
    """What a batch changes by ending with ``files``; ``batch`` as it was before."""
    made = of_files(*files)
    return QuotaUsage(
        files=made.files,
        stored_bytes=made.stored_bytes,
        open_batches=-1,
        queued_requests=-batch.counts.total,
    )


def _to_account(row: sa.RowMapping) -> QuotaUsage:
    return QuotaUsage(**{name: row[name] for name in _NAMES})
