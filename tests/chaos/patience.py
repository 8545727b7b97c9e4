"""How long a round waits: in the time of a machine that has nothing else to do.

What takes seconds there takes minutes beside ten other programs. A check that gave up by the clock
would then find nothing but that.
"""

import asyncio
import os
from collections.abc import Iterable

_OWN_LOAD = 4.0  # processes that want a processor in a round, for each processor
_MOST = 10.0  # times as long, whatever the load


def crowding() -> float:
    """How many times as long everything takes as on a machine that runs a round only."""
    wanted = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(max(1.0, wanted / _OWN_LOAD), _MOST)


class Patience:
    """``seconds`` of an uncrowded machine, from now on."""

    def __init__(self, seconds: float) -> None:
        self._left_s = seconds
        self._clock = asyncio.get_running_loop().time
        self._looked_at = self._clock()

    @property
    def over(self) -> bool:
        now = self._clock()
        self._left_s -= (now - self._looked_at) / crowding()
        self._looked_at = now
        return self._left_s < 0


async def ended(tasks: Iterable[asyncio.Task[None]], within_s: float) -> None:
    """Wait until all tasks have ended, or ``within_s`` of an uncrowded machine are over."""
    patience, waiting = Patience(within_s), set(tasks)
    while waiting and not patience.over:
        _, waiting = await asyncio.wait(waiting, timeout=1)
