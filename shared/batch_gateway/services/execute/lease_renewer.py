"""Renews the heartbeats of all leases of an activation.

The loop waits for the scratch server and for nothing else: no file store, no database, no reclaim.
A slow store or an unavailable database therefore never costs a living executor its leases.
"""

import asyncio
import logging
from datetime import timedelta

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ShardId
from batch_gateway.core.model import LeaseRef
from batch_gateway.ports.scratch import ShardQueue

logger = logging.getLogger(__name__)

_RETRY_S = 0.5  # after the scratch server did not answer


class LeaseRenewer:
    """The leases that are renewed. ``track`` and ``drop`` are the only ways in and out."""

    def __init__(self, queue: ShardQueue, *, ttl: timedelta, every_s: float) -> None:
        """``ttl``: how long a heartbeat holds. Renewed every ``every_s``, and at least three times
        in a ``ttl``."""
        self._queue = queue
        self._ttl = ttl
        self._every_s = min(every_s, ttl.total_seconds() / 3)
        self._leases: dict[ShardId, LeaseRef] = {}

    @property
    def tracked(self) -> int:
        return len(self._leases)

    def track(self, lease: LeaseRef) -> None:
        self._leases[lease.shard] = lease

    def drop(self, lease: LeaseRef) -> None:
        """Renew ``lease`` no more; a newer lease of the same shard stays."""
        if self._leases.get(lease.shard) == lease:
            del self._leases[lease.shard]

    async def keep(self) -> None:
        """Renew until cancelled."""
        while True:
            pause = self._every_s
            try:
                if self._leases:
                    await self._queue.renew(list(self._leases.values()), self._ttl)
            except Temporary as error:
                pause = min(pause, _RETRY_S)
                logger.warning("Leases are not renewed: %s", error, extra={"action": "renew"})
            await asyncio.sleep(pause)
