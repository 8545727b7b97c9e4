"""Usage: sums over ended batches by day, grouped as asked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import TokenUsage
from batch_gateway.core.prices import PriceList, added
from batch_gateway.core.usage import UsageRecord, summed
from batch_gateway.ports.usage import UsageRows

TENANT, API_KEY, MODEL = "tenant", "api_key", "model"
GROUPS = (TENANT, API_KEY, MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageGroup:
    """Sums over some records; None: records are not grouped by that."""

    tenant: TenantId | None
    api_key: str | None
    model: str | None
    sums: Mapping[str, int]
    cost: Decimal | None  # None: no model of the group has a price


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageInterval:
    first: date
    end: date  # the day behind the last one
    groups: Sequence[UsageGroup]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which records to add up; empty filters admit all."""

    tenant: TenantId | None  # None: all tenants
    group_by: frozenset[str] = frozenset()  # of GROUPS
    tenants: frozenset[str] = frozenset()
    api_keys: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()

    def admits(self, record: UsageRecord) -> bool:
        return (
            (not self.tenants or record.tenant in self.tenants)
            and (not self.api_keys or record.api_key in self.api_keys)
            and (not self.models or record.model in self.models)
        )


class UsageService:
    def __init__(self, rows: UsageRows, prices: PriceList) -> None:
        self._rows = rows
        self.prices = prices

    async def days(self, query: UsageQuery, first: date, end: date) -> Sequence[UsageInterval]:
        """One bucket for each day from ``first`` until before ``end``, also for empty days."""
        by_day: dict[date, list[UsageRecord]] = {}
        for record in await self._rows.between(first, end, tenant=query.tenant):
            if query.admits(record):
                by_day.setdefault(record.day, []).append(record)
        days = (first + timedelta(days=n) for n in range((end - first).days))
        return [
            UsageInterval(
                first=day,
                end=day + timedelta(days=1),
                groups=self._groups(by_day.get(day, []), query.group_by),
            )
            for day in days
        ]

    def _groups(self, records: Iterable[UsageRecord], by: frozenset[str]) -> Sequence[UsageGroup]:
        groups: dict[tuple[str | None, str | None, str | None], list[UsageRecord]] = {}
        for record in records:
            key = (
                record.tenant if TENANT in by else None,
                record.api_key if API_KEY in by else None,
                record.model if MODEL in by else None,
            )
            groups.setdefault(key, []).append(record)
        return [
            UsageGroup(
                tenant=None if tenant is None else TenantId(tenant),
                api_key=api_key,
                model=model,
                sums=summed(some),
                cost=added(self._cost(record) for record in some),
            )
            for (tenant, api_key, model), some in sorted(
                groups.items(), key=lambda item: [name or "" for name in item[0]]
            )
        ]

    def _cost(self, record: UsageRecord) -> Decimal | None:
        usage = TokenUsage(
            input_tokens=record.input_tokens,
            cached_tokens=record.cached_tokens,
            output_tokens=record.output_tokens,
            reasoning_tokens=record.reasoning_tokens,
        )
        return self.prices.cost(record.model, record.day, usage, record.completed)
