"""Starts batches that depend on another batch, when that one has ended.

It stays in validating until the other one has ended. Then it is announced as created once more, and
the planner makes its input (``plan.chained``). A lost announcement is made up for by the janitor.
There can be no circle, because a batch can only name one that is there already.
"""

from collections.abc import Sequence

from batch_gateway.core.chaining import after_of
from batch_gateway.core.events import EventType
from batch_gateway.core.ids import BatchId
from batch_gateway.core.lifecycle import lifecycle_event
from batch_gateway.core.model import Batch, BatchStatus
from batch_gateway.ports.batches import BatchRows
from batch_gateway.services.event_publisher import EventPublisher

_LOOKED_AT = 200  # batches that wait; the janitor announces the others


class DependentBatches:
    """Those that wait for a batch to end."""

    def __init__(self, batches: BatchRows, publisher: EventPublisher) -> None:
        self._batches = batches
        self._publisher = publisher

    async def wake(self, *ended: Batch) -> None:
        """Have the batches planned that wait for one of ``ended``. Raises Unavailable."""
        names = {batch.id for batch in ended}
        events = [
            lifecycle_event(EventType.BATCH_CREATED, batch)
            for batch in await self._batches.dependent(_LOOKED_AT)
            if after_of(batch) in names
        ]
        await self._publisher.publish(*events)

    async def without_waiting(self, batches: Sequence[Batch]) -> list[Batch]:
        """Those of ``batches`` that nothing keeps from being planned."""
        going_on: dict[BatchId, bool] = {}
        for batch in batches:
            first = after_of(batch)
            if first is not None and first not in going_on:
                other = await self._batches.get(batch.tenant, first)
                going_on[first] = other is not None and not other.terminal
        return [
            batch
            for batch in batches
            if batch.status is not BatchStatus.VALIDATING
            or (first := after_of(batch)) is None
            or not going_on[first]
        ]
