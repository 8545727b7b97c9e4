"""Whether an executor would find work now, with respect to calendars."""

from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.routing import RouteProvider


class AvailableWorkCheck:
    def __init__(
        self, coordination: CoordinationStore, routes: RouteProvider, clock: Clock
    ) -> None:
        self._coordination = coordination
        self._routes = routes
        self._clock = clock

    async def has_executors(self) -> bool:
        """Whether an executor is at work."""
        running, _ = await self._coordination.activations.count()
        return running > 0

    async def exists(self) -> bool:
        """Whether an executor would find something to do, or has left something undone."""
        depth = await self._coordination.queue.depth()
        return depth.leased > 0 or (depth.ready > 0 and await self._open())

    async def _open(self) -> bool:
        """Whether a ready shard may be worked on now."""
        shut = self._routes.table.shut(self._clock.now())
        if not shut:
            return True
        entry = await self._coordination.queue.propose(models=shut.only, avoid=shut.names)
        if entry is None:
            return False
        await self._coordination.queue.release(entry, refund=1.0)
        return True
