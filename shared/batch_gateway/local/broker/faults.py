"""Fault injection for tests: loses, delays and repeats accepted events.

A fault strikes after the producer has its 202, as a broker's loss does. What is decided is stored
with the event, so a broker that is killed meanwhile does not forget it.
"""

from random import Random

import msgspec


class BrokerFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares between 0 and 1, tried in this order; at most one applies to an event."""

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    delay_s: float = 1.0
    """How long a delayed event waits; a reordered one waits a random part of it."""
    types: tuple[str, ...] = ()
    """Types that are struck; empty: all."""

    def holds(self, type_: str, random: Random) -> list[float]:
        """How long each copy of an event is held back, in seconds; no copy: it is lost."""
        if self.types and type_ not in self.types:
            return [0.0]
        luck = random.random()
        if luck < self.drop:
            return []
        if (luck := luck - self.drop) < self.duplicate:
            return [0.0, 0.0]
        if (luck := luck - self.duplicate) < self.delay:
            return [self.delay_s]
        if luck - self.delay < self.reorder:
            return [random.uniform(0, self.delay_s)]
        return [0.0]
