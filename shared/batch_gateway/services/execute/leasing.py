"""Which shard an activation leases next.

One whose model has slots to spare: models with lines enough for the slots they have are left out,
and those that no calendar allows a call now. Neither the fair nor the urgent lane may take all
leases, and a shard that may have killed its worker is worked on alone.
"""

from collections.abc import Sequence

from batch_gateway.ports.clock import Clock
from batch_gateway.ports.scratch import ShardQueue
from batch_gateway.services.execute.custody import Custody
from batch_gateway.services.execute.holding import Holding
from batch_gateway.services.execute.pools import Pools
from batch_gateway.services.routing import Routes
from batch_gateway.settings import Execution, Queue


class Leasing:
    def __init__(
        self,
        *,
        custody: Custody,
        queue: ShardQueue,
        pools: Pools,
        routes: Routes,
        clock: Clock,
        rules: Execution,
        queue_rules: Queue,
    ) -> None:
        self.shut_out = False  # there may be work, but calendars allow none of it now
        self._custody = custody
        self._queue = queue
        self._pools = pools
        self._routes = routes
        self._clock = clock
        self._most = rules.max_leases
        self._of_a_lane = max(1, int(rules.max_leases * queue_rules.urgent_share))

    async def next(self, held: Sequence[Holding]) -> Holding | None:
        """Lease one more shard beside those ``held``; None: there is none, or no room for one."""
        fair, urgent = self._room(held)
        if not (fair or urgent):
            return None
        shut = self._routes.table.shut(self._clock.now())
        holding = await self._custody.lease(
            lambda: self._queue.propose(
                models=shut.only,
                avoid=shut.names,
                avoid_fair=self._pools.sated if fair else None,
                avoid_urgent=self._pools.sated_with_urgent if urgent else None,
                held=sorted({holding.lease.tenant for holding in held}),
            )
        )
        self.shut_out = bool(shut) and holding is None and not held
        return holding

    def _room(self, held: Sequence[Holding]) -> tuple[bool, bool]:
        """Whether a fair and whether an urgent shard may be leased."""
        if len(held) >= self._most or any(holding.suspicious for holding in held):
            return False, False
        urgent = sum(holding.urgent for holding in held)
        return len(held) - urgent < self._of_a_lane, urgent < self._of_a_lane
