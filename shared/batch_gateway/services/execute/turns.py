"""Whose line gets the next free slot of a pool.

Urgent shards go first, by deadline, up to their share of the slots while other work waits; a shard
that they outrank keeps its lease and goes on when there is room. All other work shares the slots
by its tenants' weights: so a small batch does not wait for the huge one of another tenant. A
tenant's shards go in the order in which they were leased, line by line in plan order: neighbours
in the prefix tree are dispatched together. A part of the slots may be reserved for urgent work.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from batch_gateway.services.execute.holding import Holding, Work
from batch_gateway.settings import Queue


class Turns:
    def __init__(self, rules: Queue) -> None:
        self._share = rules.urgent_share
        self._reserve = rules.urgent_reserve
        self._weights = rules.tenant_weights

    def next(
        self, holdings: Sequence[Holding], slots: int, take: Callable[[Holding], Work | None]
    ) -> Work | None:
        """The line to start in one of ``slots``; ``take`` takes one of a holding, if it has any."""
        urgent = [holding for holding in holdings if holding.urgent]
        if not urgent:
            return self._fair(holdings, slots, take)
        fair = [holding for holding in holdings if not holding.urgent]
        urgent.sort(key=lambda holding: holding.deadline)
        taken = sum(holding.running for holding in urgent)
        if taken >= max(1, math.ceil(slots * self._share)):
            return self._fair(fair, slots, take) or _first(urgent, take)
        return _first(urgent, take) or self._fair(fair, slots, take)

    def _fair(
        self, holdings: Sequence[Holding], slots: int, take: Callable[[Holding], Work | None]
    ) -> Work | None:
        if not self._room(holdings, slots):
            return None
        running = Counter[str]()
        for holding in holdings:
            running[holding.lease.tenant] += holding.running
        if len(running) > 1:
            holdings = sorted(holdings, key=lambda holding: self._served(holding, running))
        return _first(holdings, take)

    def _served(self, holding: Holding, running: Mapping[str, int]) -> float:
        """Slots that the holding's tenant has, for his weight."""
        tenant = holding.lease.tenant
        return running[tenant] / self._weights.get(tenant, 1.0)

    def _room(self, fair: Sequence[Holding], slots: int) -> bool:
        """Whether fair work may use one more slot; one is never reserved."""
        if not self._reserve:
            return True
        usable = max(1, math.floor(slots * (1 - self._reserve)))
        return sum(holding.running for holding in fair) < usable


def _first(holdings: Iterable[Holding], take: Callable[[Holding], Work | None]) -> Work | None:
    for holding in holdings:
        if (work := take(holding)) is not None:
            return work
    return None
