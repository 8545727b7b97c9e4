"""Selects the line that gets the next free slot of a pool.

Urgent shards go first, by deadline, up to their share of the slots while other work waits; a shard
that they outrank keeps its lease and continues when there is room. All other work shares the slots
by its tenants' weights: so a small batch does not wait for the huge one of another tenant. A
tenant's shards go in the order in which they were leased, line by line in plan order: neighbours
in the prefix tree are dispatched together. A part of the slots may be reserved for urgent work.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.services.execute.line_in_flight import LineInFlight
from batch_gateway.settings import QueueSettings


class SlotScheduler:
    def __init__(self, rules: QueueSettings) -> None:
        self._share = rules.urgent_share
        self._reserve = rules.urgent_reserve
        self._weights = rules.tenant_weights

    def next(
        self,
        shards: Sequence[LeasedShard],
        slots: int,
        take: Callable[[LeasedShard], LineInFlight | None],
    ) -> LineInFlight | None:
        """The line to start in one of ``slots``; ``take`` takes one of a shard, if it has any."""
        urgent = [shard for shard in shards if shard.urgent]
        if not urgent:
            return self._fair(shards, slots, take)
        fair = [shard for shard in shards if not shard.urgent]
        urgent.sort(key=lambda shard: shard.deadline)
        taken = sum(shard.running for shard in urgent)
        if taken >= max(1, math.ceil(slots * self._share)):
            return self._fair(fair, slots, take) or _first(urgent, take)
        return _first(urgent, take) or self._fair(fair, slots, take)

    def _fair(
        self,
        shards: Sequence[LeasedShard],
        slots: int,
        take: Callable[[LeasedShard], LineInFlight | None],
    ) -> LineInFlight | None:
        if not self._room(shards, slots):
            return None
        running: dict[str, int] = {shard.lease.tenant: 0 for shard in shards}
        if len(running) > 1:
            for shard in shards:
                running[shard.lease.tenant] += shard.running
            shards = sorted(shards, key=lambda shard: self._served(shard, running))
        return _first(shards, take)

    def _served(self, shard: LeasedShard, running: Mapping[str, int]) -> float:
        """Slots that the shard's tenant has, divided by its weight."""
        tenant = shard.lease.tenant
        return running[tenant] / self._weights.get(tenant, 1.0)

    def _room(self, fair: Sequence[LeasedShard], slots: int) -> bool:
        """Whether fair work may use one more slot; one is never reserved."""
        if not self._reserve:
            return True
        usable = max(1, math.floor(slots * (1 - self._reserve)))
        return sum(shard.running for shard in fair) < usable


def _first(
    shards: Iterable[LeasedShard], take: Callable[[LeasedShard], LineInFlight | None]
) -> LineInFlight | None:
    for shard in shards:
        if (work := take(shard)) is not None:
            return work
    return None
