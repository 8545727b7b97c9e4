"""Analytics of one batch: statistics of its calls, and sums per model.

While a batch runs, what is recorded for its shards is summed up. When it ends its summary is kept
until it is deleted.
"""

import logging
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal

from batch_gateway.core.batch_summary import BatchSummary, ModelTotals
from batch_gateway.core.call_statistics import CallStatistics
from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.model import Batch
from batch_gateway.core.planning import INVALID
from batch_gateway.core.prices import PriceList, added
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.shards import ShardRows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """What the requests of a batch that name one model have come to."""

    model: str
    sums: ModelTotals
    cost: Decimal | None  # None: the model has no price


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnalytics:
    batch: Batch
    statistics: CallStatistics
    models: tuple[ModelUse, ...]
    cost: Decimal | None  # None: no model has a price
    currency: str


async def recorded_summary(shards: ShardRows, batch: BatchId) -> BatchSummary:
    """The sum of what is recorded for the shards of a batch, up to one that cannot be decoded."""
    summary = BatchSummary()
    try:
        async for shard in shards.of_batch(batch):
            summary.add(shard)
    except Temporary:
        raise
    except Exception:  # statistics are no reason for a batch not to end
        logger.exception(
            "The statistics of a batch are incomplete",
            extra={"action": "summary", "batch_id": batch},
        )
    return summary


class AnalyticsService:
    def __init__(self, metadata: MetadataStore, prices: PriceList) -> None:
        self._metadata = metadata
        self._prices = prices

    async def get(self, tenant: TenantId, batch_id: BatchId) -> BatchAnalytics | None:
        """None: there is no such batch of the tenant."""
        batch = await self._metadata.batches.get(tenant, batch_id)
        if batch is None:
            return None
        kept = await self._metadata.batches.summary(batch_id) if batch.terminal else None
        if kept is None:
            summary = await recorded_summary(self._metadata.shards, batch_id)
        else:
            summary = BatchSummary.decoded(kept)
        day = batch.status_since.astimezone(UTC).date()
        models = tuple(
            ModelUse(
                model=model,
                sums=sums,
                cost=self._prices.cost(model, day, sums.usage, sums.completed),
            )
            for model, sums in sorted(summary.models.items())
            if model != INVALID
        )
        return BatchAnalytics(
            batch=batch,
            statistics=summary.calls,
            models=models,
            cost=added(use.cost for use in models),
            currency=self._prices.currency,
        )
