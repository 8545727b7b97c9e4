"""Selects the shard that an activation leases next.

A shard is leased for a model that can use more lines. Left out are models that have enough lines
for the slots they have, models whose calendars allow no call now, and models that cannot run at
present although a shard of them is held: one held shard is enough to find out when they can,
unless its batch's calls fail. Of such a batch no further shard is leased, but one of another batch.

Of each model at most ``execution.max_leases`` shards are held, of which the urgent and the fair
lane may each take ``queue.urgent_share``. Only shards that can run count. So a model whose endpoint
is unavailable, full or stuck never takes the leases that other models need. All held shards
together are bounded by a multiple. A shard of few lines counts as a part of one: sixteen batches of
two lines would use an eighth of the slots, and take as little memory.
"""

from collections import defaultdict
from collections.abc import Sequence

from batch_gateway.core.model import QueueEntry
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.routing import RouteProvider
from batch_gateway.ports.shard_queue import ShardQueue
from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.services.execute.pools import SlotPools
from batch_gateway.services.execute.shard_leases import ClaimedShard, ShardLeases
from batch_gateway.settings import ExecutionSettings, QueueSettings

_ALTOGETHER = 4  # times ``max_leases``: shards that are held of all models, at most
SMALL = 64  # lines: a shard of fewer counts as the share of them that it has
_LEAST = 1 / 16  # of a shard that the smallest one counts


class ShardSelector:
    def __init__(
        self,
        *,
        leases: ShardLeases,
        queue: ShardQueue,
        pools: SlotPools,
        routes: RouteProvider,
        clock: Clock,
        rules: ExecutionSettings,
        queue_rules: QueueSettings,
    ) -> None:
        self.only_forbidden = False  # there may be work, but calendars allow none of it now
        self._leases = leases
        self._queue = queue
        self._pools = pools
        self._routes = routes
        self._clock = clock
        self._most = rules.max_leases
        self._of_a_lane = max(1, int(rules.max_leases * queue_rules.urgent_share))

    async def next(self, held: Sequence[LeasedShard]) -> ClaimedShard | None:
        """Lease one more shard beside those ``held``; None: there is none, or no room for one."""
        if sum(map(_weight, held)) >= _ALTOGETHER * self._most:
            return None
        shut = self._routes.table.shut(self._clock.now())
        tenants = sorted({shard.lease.tenant for shard in held})

        async def propose() -> QueueEntry | None:
            while True:
                no_more, no_more_fair, no_more_urgent = self._full(held)
                avoid = {*shut.names, *self._pools.cannot_run, *no_more}
                failing = self._pools.failing_batches
                urgent_enough = {*self._pools.has_enough_urgent_work, *no_more_urgent}
                entry = None
                if no_more_fair:  # of these models urgent shards only
                    entry = await self._queue.propose(
                        models=shut.only,
                        avoid=sorted(avoid),
                        avoid_fair=None,
                        avoid_urgent=sorted(urgent_enough),
                        avoid_batches=failing,
                    )
                if entry is None:
                    entry = await self._queue.propose(
                        models=shut.only,
                        avoid=sorted(avoid | no_more_fair),
                        avoid_fair=self._pools.has_enough_work,
                        avoid_urgent=sorted(urgent_enough),
                        avoid_batches=failing,
                        held=tenants,
                    )
                if entry is None or not self._pools.refuses(entry.model):
                    return entry
                await self._queue.release(entry, refund=1.0)

        claimed = await self._leases.acquire(propose)
        self.only_forbidden = bool(shut) and claimed is None and not held
        return claimed

    def _full(self, held: Sequence[LeasedShard]) -> tuple[set[str], set[str], set[str]]:
        """Models of which no more shards are leased: at all, by fair turn, and as urgent ones."""
        fair, urgent = defaultdict[str, float](float), defaultdict[str, float](float)
        for shard in held:
            if self._pools.can_run(shard):
                (urgent if shard.urgent else fair)[shard.lease.shard.model] += _weight(shard)
        models = fair.keys() | urgent.keys()
        return (
            {model for model in models if fair[model] + urgent[model] >= self._most},
            {model for model in models if fair[model] >= self._of_a_lane},
            {model for model in models if urgent[model] >= self._of_a_lane},
        )


def _weight(shard: LeasedShard) -> float:
    """What a shard counts against the most that are held."""
    return min(1.0, max(_LEAST, shard.lease.shard.lines / SMALL))
