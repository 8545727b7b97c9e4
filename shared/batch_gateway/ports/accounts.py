"""Usage of tenants, counted for their quotas."""

from collections.abc import AsyncIterator
from typing import Protocol

from batch_gateway.core.ids import TenantId
from batch_gateway.core.quotas import QuotaUsage


class QuotaUsageRows(Protocol):
    """What each tenant has. It changes in the very transactions that add to it or take from it.

    Where a method takes ``quotas``, it raises OverQuota, and changes nothing, when the tenant would
    have more than that of what it adds. However many call at once, the sum never goes beyond.
    """

    async def get(self, tenant: TenantId) -> QuotaUsage: ...

    def tenants(self) -> AsyncIterator[TenantId]:
        """All that have an account, in no order; those that get one meanwhile may be missing."""
        ...

    async def recount(self, tenant: TenantId) -> bool:
        """Count anew what a tenant has; whether the account was wrong and is right now.

        It goes wrong only while two releases of this software that count differently are at work.
        False also when too much happened meanwhile to tell: try again some other time.
        """
        ...
