"""What each tenant has, kept in the transactions that change it.

Whoever changes an account does so last in his transaction: its row is locked until the commit, and
nobody waits for another row while he holds it.
"""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.sql.database import Database
from batch_gateway.adapters.sql.dialects import insert_on
from batch_gateway.adapters.sql.schema import accounts
from batch_gateway.core.errors import OverQuota
from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import Batch, File
from batch_gateway.core.quotas import NO_QUOTAS, Account, Quotas

_NAMES = tuple(Account.__dataclass_fields__)


class SqlAccounts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, tenant: TenantId) -> Account:
        query = sa.select(accounts).where(accounts.c.tenant == tenant)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return Account() if row is None else _to_account(row._mapping)


async def book(
    connection: AsyncConnection, tenant: TenantId, added: Account, quotas: Quotas = NO_QUOTAS
) -> None:
    """Add to a tenant's account. Raises OverQuota, which undoes the transaction."""
    more = {name: getattr(added, name) for name in _NAMES}
    if not any(more.values()):
        return
    insert = insert_on(connection.dialect, accounts).values(tenant=tenant, **more)
    change = insert.on_conflict_do_update(
        index_elements=[accounts.c.tenant],
        set_={name: accounts.c[name] + more[name] for name in _NAMES},
    ).returning(accounts)
    then = _to_account((await connection.execute(change)).one()._mapping)
    if (name := quotas.exceeded(then, added)) is not None:
        raise OverQuota(name, getattr(quotas, name))


def of_files(*files: File, sign: int = 1) -> Account:
    """What ``files`` add to an account; ``sign`` -1: what they take from it."""
    return Account(files=sign * len(files), stored_bytes=sign * sum(file.size for file in files))


def of_ended(batch: Batch, *files: File) -> Account:
    """What a batch changes by ending with ``files``; ``batch`` as it was before."""
    made = of_files(*files)
    return Account(
        files=made.files,
        stored_bytes=made.stored_bytes,
        open_batches=-1,
        queued_requests=-batch.counts.total,
    )


def _to_account(row: sa.RowMapping) -> Account:
    return Account(**{name: row[name] for name in _NAMES})
