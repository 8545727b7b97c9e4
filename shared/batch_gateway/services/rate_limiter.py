"""Rate limits that fall back to one process while the coordination store is unavailable.

Each process also counts by itself. A request passes when neither count refuses it. While the
coordination store is unavailable, the count of the process alone decides: an outage does not stop
requests, and each process admits at most the limit.
"""

import logging
import time
from datetime import timedelta

from batch_gateway.core.errors import Unavailable
from batch_gateway.ports.coordination import RateDecision, RateLimiter

logger = logging.getLogger(__name__)

#: Buckets in memory, each of a tenant that was here within its window.
_MOST = 100_000


class FallbackRateLimiter:
    """``Rates`` of all processes together, or of this one while ``shared`` is unavailable."""

    def __init__(self, shared: RateLimiter) -> None:
        self._shared = shared
        self._full_at: dict[str, float] = {}  # seconds of the monotonic clock, by name

    async def take(self, name: str, limit: int, window: timedelta) -> RateDecision:
        """As ``Rates.take``. Never raises Unavailable."""
        own = self._take(name, limit, window)
        if not own.passed:
            return own
        try:
            passage = await self._shared.take(name, limit, window)
        except Unavailable as error:
            logger.warning("Counted by this process only: %s", error, extra={"action": "rate"})
            return own
        except BaseException:
            self._give_back(name, limit, window)
            raise
        if not passage.passed:
            self._give_back(name, limit, window)
        return passage

    def _take(self, name: str, limit: int, window: timedelta) -> RateDecision:
        """A bucket that holds ``limit`` and refills evenly within the window."""
        now, length = time.monotonic(), window.total_seconds()
        each = length / limit
        full_at = max(self._full_at.get(name, now), now)
        passed = full_at + each - now <= length + each / 1000
        if passed:
            full_at += each
            self._make_room(now)
            self._full_at[name] = full_at
        remaining = max(0, int((length - (full_at - now)) / each + 0.001))
        wait = 0.0 if remaining else max(0.001, full_at + each - now - length)
        return RateDecision(
            passed=passed,
            remaining=remaining,
            next_in=timedelta(seconds=wait),
            full_in=timedelta(seconds=full_at - now),
        )

    def _give_back(self, name: str, limit: int, window: timedelta) -> None:
        if name in self._full_at:
            self._full_at[name] -= window.total_seconds() / limit

    def _make_room(self, now: float) -> None:
        """Forget full buckets, and after those the ones that are full soonest."""
        if len(self._full_at) < _MOST:
            return
        kept = sorted(self._full_at.items(), key=lambda bucket: bucket[1])[_MOST // 2 :]
        self._full_at = {name: full_at for name, full_at in kept if full_at > now}
