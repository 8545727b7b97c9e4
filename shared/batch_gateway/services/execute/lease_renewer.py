"""Renews the heartbeats of all leases of an activation.

The loop waits for the coordination store only: not for the file store, the database or a reclaim.
A slow store or an unavailable database therefore never costs a living executor its leases.

The queue registers a lease anew that it does not know, because it may have lost its memory. So a
renewal that is under way while its lease ends may come behind the end, and bring the lease back.
Once it is over, the renewer takes such a lease out again.
"""

import asyncio
import logging
from datetime import timedelta

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ShardId
from batch_gateway.core.model import LeaseRef
from batch_gateway.ports.shard_queue import ShardQueue

logger = logging.getLogger(__name__)

_RETRY_S = 0.5  # after the coordination store did not answer


class LeaseRenewer:
    """The leases that are renewed. ``track`` is the only way in, ``drop`` and ``end`` lead out."""

    def __init__(self, queue: ShardQueue, *, ttl: timedelta, every_s: float) -> None:
        """``ttl``: how long a heartbeat holds. Renewed every ``every_s``, and at least three times
        in a ``ttl``."""
        self._queue = queue
        self._ttl = ttl
        self._every_s = min(every_s, ttl.total_seconds() / 3)
        self._leases: dict[ShardId, LeaseRef] = {}
        self._ended: list[LeaseRef] = []  # while a renewal is under way
        self._renewing = asyncio.Lock()

    @property
    def tracked(self) -> int:
        return len(self._leases)

    def track(self, lease: LeaseRef) -> None:
        self._leases[lease.shard] = lease

    def drop(self, lease: LeaseRef) -> None:
        """Renew ``lease`` no more; a newer lease of the same shard stays."""
        if self._leases.get(lease.shard) == lease:
            del self._leases[lease.shard]

    def end(self, lease: LeaseRef) -> None:
        """Renew ``lease`` no more: it has ended in the database. To be called before the
        queue is updated."""
        self.drop(lease)
        if self._renewing.locked():
            self._ended.append(lease)

    async def keep(self) -> None:
        """Renew until cancelled."""
        while True:
            pause = self._every_s
            try:
                await self._renew()
            except Temporary as error:
                pause = min(pause, _RETRY_S)
                logger.warning("Leases are not renewed: %s", error, extra={"action": "renew"})
            await asyncio.sleep(pause)

    async def settled(self) -> None:
        """Wait for the renewal that is under way, if there is one."""
        async with self._renewing:
            pass

    async def _renew(self) -> None:
        async with self._renewing:
            renewed = list(self._leases.values())
            if not renewed:
                return
            try:
                await self._queue.renew(renewed, self._ttl)
            finally:  # one that has failed may have come through
                ended, self._ended = self._ended, []
                if ended:
                    await self._queue.discard(ended)
