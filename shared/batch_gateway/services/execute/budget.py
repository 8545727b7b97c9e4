"""Budgets: stops a batch that fails too often or uses too many tokens.

Judged whenever results are recorded, by the counts that clients see; results of calls in flight
come on top. A stopped batch ends as a cancelled one does, with the reason among its
errors and all results that it has.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from batch_gateway.core.batch_summary import BatchSummary
from batch_gateway.core.errors import Temporary
from batch_gateway.core.model import Batch, BatchError, BatchStatus, Lease
from batch_gateway.core.prices import PriceList, added
from batch_gateway.ports.shards import ShardRows
from batch_gateway.services.termination import Termination

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchBudget:
    """What a batch may come to; None: anything."""

    max_errors: int | None = None  # lines
    max_error_rate: float | None = None  # share of all its lines, 0 to 1
    max_total_tokens: int | None = None  # as the engines report them, given and made
    max_cost: float | None = None  # in the currency of the price list

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "BatchBudget":
        return cls(**{name: options.get(name) for name in cls.__slots__})

    def broken(self, batch: Batch) -> BatchError | None:
        """How ``batch`` goes beyond it; None when it does not."""
        failed, total = batch.counts.failed, batch.counts.total
        tokens = batch.usage.input_tokens + batch.usage.output_tokens if batch.usage else 0
        if self.max_errors is not None and failed > self.max_errors:
            return _error("max_errors", f"{failed} requests failed, more than {self.max_errors}.")
        if self.max_error_rate is not None and failed > self.max_error_rate * total:
            return _error(
                "max_error_rate",
                f"{failed} of {total} requests failed, a rate above {self.max_error_rate:g}.",
            )
        if self.max_total_tokens is not None and tokens > self.max_total_tokens:
            return _error(
                "max_total_tokens", f"{tokens} tokens were used, above {self.max_total_tokens}."
            )
        return None


class BudgetGuard:
    """Stops batches that have broken their budget."""

    def __init__(self, termination: Termination, shards: ShardRows, prices: PriceList) -> None:
        self._termination = termination
        self._shards = shards
        self._prices = prices

    async def check(self, lease: Lease, batch: Batch) -> None:
        """Judge ``batch`` if its options name a budget. A server that is unavailable is logged."""
        budget = BatchBudget.of(lease.options)
        if budget == BatchBudget() or batch.status is not BatchStatus.IN_PROGRESS or batch.ending:
            return
        try:
            error = budget.broken(batch) or await self._too_dear(budget, batch)
            if error is not None:
                await self._termination.stop(batch, error)
        except Temporary as error:
            logger.warning("A budget is not checked: %s", error, extra={"action": "budget"})

    async def _too_dear(self, budget: BatchBudget, batch: Batch) -> BatchError | None:
        """Whether ``batch`` costs more than it may.

        What each model has come to is read from the shards, but only once the batch may be too
        dear at all.
        """
        if budget.max_cost is None or batch.usage is None:
            return None
        most = Decimal(str(budget.max_cost))
        if self._prices.bound(batch.usage, batch.counts.completed) <= most:
            return None
        summary = BatchSummary()
        async for shard in self._shards.of_batch(batch.id):
            summary.add_sums(shard)
        day = datetime.now(UTC).date()
        cost = added(
            self._prices.cost(model, day, sums.usage, sums.completed)
            for model, sums in summary.models.items()
        )
        if cost is None or cost <= most:
            return None
        currency = self._prices.currency
        return _error("max_cost", f"it costs {cost:f} {currency}, above {most:f} {currency}.")


def _error(param: str, message: str) -> BatchError:
    return BatchError(
        code=f"{param}_exceeded", message=f"The batch was stopped: {message}", param=param
    )
