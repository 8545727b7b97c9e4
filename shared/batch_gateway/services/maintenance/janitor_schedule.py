"""Whether the janitor is needed before its next timer tick.

Batches that cannot progress do not need it: paused batches, batches that wait for another batch,
and batches whose models a calendar closes. Their deadlines and the changes of the calendar do.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from batch_gateway.core.model import OPEN, Batch, BatchStatus
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.routing import RouteProvider
from batch_gateway.services.batches.dependents import DependentBatches
from batch_gateway.services.maintenance.available_work import AvailableWorkCheck
from batch_gateway.services.maintenance.retention import BatchRetention

_LOOKED_AT = 200  # open batches; more than that always need the janitor
_A_MOMENT = timedelta(seconds=1)  # clocks differ


class JanitorSchedule:
    def __init__(
        self,
        *,
        metadata: MetadataStore,
        dependents: DependentBatches,
        available_work: AvailableWorkCheck,
        retention: BatchRetention,
        routes: RouteProvider,
        clock: Clock,
        absence: timedelta,
    ) -> None:
        """``absence``: the timer starts the janitor after this time in any case."""
        self._metadata = metadata
        self._dependents = dependents
        self._available_work = available_work
        self._retention = retention
        self._routes = routes
        self._clock = clock
        self._absence = absence

    async def needed(self) -> bool:
        """Raises Temporary when it cannot be told."""
        now = self._clock.now()
        until = now + self._absence
        if (
            await self._metadata.outbox.unsent(before=now + _A_MOMENT, limit=1)
            or await self._metadata.batches.ended(limit=1)
            or await self._metadata.webhooks.due(until)
            or await self._retention.due()
        ):
            return True
        batches = await self._metadata.batches.unfinished(
            OPEN, before=now + _A_MOMENT, limit=_LOOKED_AT
        )
        if not batches:
            return False
        return (
            len(batches) == _LOOKED_AT
            or await self._moving(batches, until)
            or await self._available_work.has_executors()
            or await self._available_work.exists()
            or bool(await self._metadata.shards.leased(limit=1))  # by executors that are gone
            or self._opens(now, until)
        )

    async def _moving(self, batches: Sequence[Batch], until: datetime) -> bool:
        """Whether one of them waits for an event, or for its deadline."""
        unplanned = [batch for batch in batches if batch.status is BatchStatus.VALIDATING]
        return (
            any(
                batch.ending is not None
                or batch.deadline < until
                or batch.status not in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)
                for batch in batches
            )
            or len(await self._dependents.without_waiting(unplanned)) > 0
        )

    def _opens(self, now: datetime, until: datetime) -> bool:
        """Whether a calendar may allow until then what it does not allow now."""
        return self._routes.table.shut(now) != self._routes.table.shut(until)
