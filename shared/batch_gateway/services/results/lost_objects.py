"""Decides when a recorded object that cannot be read counts as lost.

A part, or the request lines of a shard, may be missing because a volume is not mounted or a bucket
answers wrongly for a while. So the work that needs it is tried again first. It counts as lost after
``TRIES`` failed attempts, at least ``APART`` after one another. Then the work continues without it,
and the owner of the batch can read which results are lost.
"""

from datetime import timedelta

from batch_gateway.ports.coordination import CoordinationStore

TRIES = 5
APART = timedelta(seconds=30)
WITHIN = timedelta(days=7)  # how long attempts are remembered

#: The error of a line whose result, or whose request, was lost in storage.
RESULT_LOST = (
    "result_lost",
    "The stored request or result of this line is missing or damaged, so its result is lost.",
)


class LostObjectDetector:
    """Counts failed attempts on the coordination store."""

    def __init__(self, coordination: CoordinationStore) -> None:
        self._coordination = coordination

    async def is_final(self, what: str) -> bool:
        """Count one more failed attempt at ``what``; True when there were enough of them.

        Attempts that follow one another within ``APART`` count once. Raises Unavailable.
        """
        if not await self._coordination.once(f"lost/{what}", APART):
            return False
        return not (
            await self._coordination.rate_limiter.take(f"lost/{what}", TRIES, WITHIN)
        ).passed
