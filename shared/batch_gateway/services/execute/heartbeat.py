"""Heartbeats: leases stay ours, and what changed about their batches is learned.

The database is asked at every beat; the control channel only makes a beat come at once.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import timedelta

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import BatchId
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.scratch import Scratch
from batch_gateway.ports.shards import Standing
from batch_gateway.services.endings import Endings
from batch_gateway.services.execute.holding import Holding
from batch_gateway.services.execute.pacing import Pacing
from batch_gateway.services.execute.waiting import signal_or
from batch_gateway.services.upkeep.rebuild import ensure_generation
from batch_gateway.settings import Execution

logger = logging.getLogger(__name__)

_RECLAIMS = 4  # leases of others that one beat takes over at most
_RESUBSCRIBE_S = 1.0


class Heartbeat:
    def __init__(
        self,
        *,
        metadata: MetadataStore,
        scratch: Scratch,
        endings: Endings,
        rules: Execution,
        holdings: Callable[[], Collection[Holding]],
        learned: Callable[[Holding, Standing], None],
        pacing: Pacing,
    ) -> None:
        """``learned`` hears at every beat how each of ``holdings`` stands."""
        self._metadata = metadata
        self._scratch = scratch
        self._endings = endings
        self._rules = rules
        self._holdings = holdings
        self._learned = learned
        self._pacing = pacing
        self._ttl = timedelta(seconds=rules.lease_ttl_s)
        self._beat_now = asyncio.Event()

    async def keep(self) -> None:
        """Beat until cancelled."""
        while True:
            try:
                await self._beat()
                await self._pacing.judge([h for h in self._holdings() if not h.closing])
                await self._reclaim()
            except Temporary as error:
                logger.warning("A heartbeat failed: %s", error, extra={"action": "heartbeat"})
            await signal_or(self._beat_now, self._rules.heartbeat_s)

    async def listen(self) -> None:
        """Beat at once when a batch that we work on has changed; until cancelled."""
        while True:
            try:
                async with self._scratch.control.listen() as changes:
                    async for batch in changes:
                        self._changed(batch)
            except Temporary as error:
                logger.debug("The control channel is away: %s", error, extra={"action": "control"})
            await asyncio.sleep(_RESUBSCRIBE_S)

    def _changed(self, batch: BatchId) -> None:
        if any(holding.lease.shard.batch == batch for holding in self._holdings()):
            self._beat_now.set()

    async def _beat(self) -> None:
        held = [holding for holding in self._holdings() if not holding.closing]
        if not held:
            return
        standings = await self._metadata.shards.standings([h.lease.ref for h in held])
        for holding, standing in zip(held, standings, strict=True):
            self._learned(holding, standing)
        await self._scratch.queue.renew(
            [s.lease for s in standings if s.held and not s.ending], self._ttl
        )

    async def _reclaim(self) -> None:
        """Take over what silent holders left, unless all are silent because memory was lost."""
        age = await ensure_generation(self._metadata, self._scratch)
        if age is not None and age > self._ttl:
            await self._endings.reclaim(await self._scratch.queue.expired(_RECLAIMS))
