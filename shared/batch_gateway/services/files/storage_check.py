"""Checks the storage quota of a tenant before an upload sends its bytes.

The transaction that creates the file repeats the check, and decides.
"""

from batch_gateway.core.errors import OverQuota
from batch_gateway.core.ids import TenantId
from batch_gateway.core.quotas import NO_QUOTAS, Quotas, QuotaUsage
from batch_gateway.ports.accounts import QuotaUsageRows


async def check_storage(
    accounts: QuotaUsageRows, quotas: Quotas, tenant: TenantId, *, size: int
) -> None:
    """Raise OverQuota when one more file of ``size`` bytes would be too much."""
    if quotas == NO_QUOTAS:
        return
    has = await accounts.get(tenant)
    added = QuotaUsage(files=1, stored_bytes=size)
    then = QuotaUsage(files=has.files + 1, stored_bytes=has.stored_bytes + size)
    if (name := quotas.exceeded(then, added)) is not None:
        raise OverQuota(name, getattr(quotas, name))
