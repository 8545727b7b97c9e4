"""Accounts: a hash per tenant, kept by the scripts that add files and make and end batches."""

from dataclasses import asdict

from batch_gateway.adapters.redis_metadata.fields import Row
from batch_gateway.adapters.redis_metadata.scripts import Scripts
from batch_gateway.core.ids import TenantId
from batch_gateway.core.quotas import Account, Quotas


class RedisAccounts:
    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def get(self, tenant: TenantId) -> Account:
        amounts = await self._scripts.row(self._scripts.keys.account(tenant))
        return Account(**{name: int(amount) for name, amount in amounts.items()})


def from_quotas(quotas: Quotas) -> Row:
    """Those that limit anything."""
    return {name: str(limit) for name, limit in asdict(quotas).items() if limit}
