"""Summarises a plan for its owner: estimates, duplicates and reused results.

It is kept among the batch's options, beside the requested ones.
"""

import logging
import math
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from batch_gateway.core.errors import Temporary
from batch_gateway.core.model import Batch, TokenUsage
from batch_gateway.core.prices import PriceList, added
from batch_gateway.core.throughput import speed_at_work, time_needed
from batch_gateway.ports.throughput import ThroughputStore
from batch_gateway.services.plan.input_scan import InputScan
from batch_gateway.services.plan.reused_results import ReusedResults

logger = logging.getLogger(__name__)

ESTIMATES = 100  # maximum number of models in the estimate of a dry run


async def with_plan_summary(
    batch: Batch,
    scan: InputScan,
    reused: ReusedResults | None,
    throughput: ThroughputStore,
    prices: PriceList,
    day: date,
) -> Mapping[str, Any] | None:
    """The batch's options with what was found out; None when they stay as they are.

    The cost of a dry run is that of ``day`` by ``prices``.
    """
    found: dict[str, Any] = {}
    if batch.is_dry:
        found["estimated_tokens"] = dict(scan.costs.most_common(ESTIMATES))
        if (cost := _cost(scan, prices, day)) is not None:
            found["estimated_cost"] = {"value": f"{cost:f}", "currency": prices.currency}
        found["estimated_duration_s"] = await _duration_s(scan.costs, throughput)
    if batch.runs_once:
        found["deduplicated"] = scan.deduplicated
    if reused is not None:
        found["carried_over"] = reused.taken
    return {**batch.options, **found} if found else None


def _cost(scan: InputScan, prices: PriceList, day: date) -> Decimal | None:
    """What all requests cost if all succeed and no prompt is cached; None: no model has a price."""
    return added(
        prices.cost(
            model,
            day,
            TokenUsage(
                input_tokens=tokens - scan.answers[model], output_tokens=scan.answers[model]
            ),
            scan.lines[model],
        )
        for model, tokens in scan.costs.items()
    )


async def _duration_s(costs: Mapping[str, int], throughput: ThroughputStore) -> int | None:
    """How long it takes at the speed that the models had lately; None when one's is not known."""
    try:
        done = await throughput.of_models(sorted(costs))
    except Temporary as error:
        logger.warning("No estimate: %s", error, extra={"action": "no_estimate"})
        return None
    speeds = {model: speed_at_work(buckets) for model, buckets in done.items()}
    needed = time_needed(costs, speeds)
    return None if needed is None else math.ceil(needed.total_seconds())
