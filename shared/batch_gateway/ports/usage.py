"""Rows of usage: sums over ended batches, by day, tenant, API key and model.

They are written by the transactions that end batches (``BatchRows.finish`` and ``fail``), so that
each batch counts exactly once. They outlive the batches.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

from batch_gateway.core.ids import TenantId
from batch_gateway.core.usage import UsageRecord


class UsageRows(Protocol):
    async def between(
        self, first: date, end: date, *, tenant: TenantId | None
    ) -> Sequence[UsageRecord]:
        """The records of days from ``first`` until before ``end``, by day, tenant, key and model.

        ``tenant`` None: those of all tenants.
        """
        ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` records of days before that of ``before``; return how many.

        A store that keeps all records of a tenant and day together counts them as one.
        """
        ...
