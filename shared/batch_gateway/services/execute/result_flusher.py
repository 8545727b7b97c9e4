"""Stores finished lines as parts, and records in the database how much is stored."""

import asyncio
import logging
from collections.abc import Iterable

from batch_gateway.core.errors import Temporary
from batch_gateway.services.execute.lease_state import LeaseState
from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.services.execute.pools import SlotPools
from batch_gateway.services.execute.shard_leases import ShardLeases
from batch_gateway.services.execute.shard_opener import log
from batch_gateway.services.execute.shard_supervisor import ShardSupervisor
from batch_gateway.services.execute.supervision import report_unforeseen
from batch_gateway.services.execute.throughput import ThroughputReporter
from batch_gateway.services.execute.waiting import signal_or

logger = logging.getLogger(__name__)

_RECORDING_SHARE = 20.0  # recording counts takes at most a twentieth of the time
_WORKED_ON = (LeaseState.RUNNING, LeaseState.DRAINING)


class ResultFlusher:
    def __init__(
        self,
        shards: ShardSupervisor,
        *,
        leases: ShardLeases,
        pools: SlotPools,
        throughput: ThroughputReporter,
        flush_now: asyncio.Event,
        every_s: float,
    ) -> None:
        """``flush_now`` is set when a shard has much to store, before ``every_s`` have passed."""
        self._shards = shards
        self._leases = leases
        self._pools = pools
        self._throughput = throughput
        self._flush_now = flush_now
        self._every_s = every_s

    async def keep_flushing(self) -> None:
        while True:
            await signal_or(self._flush_now, self._every_s)
            await self._flush(
                [
                    shard
                    for shard in self._shards
                    if shard.state in _WORKED_ON
                    and (shard.results or shard.to_note() or shard.to_clear())
                ]
            )
            self._pools.fill()
            await self._throughput.report(self._shards.held)

    async def keep_recording(self) -> None:
        """About once a second at most, and less often while the database is slow."""
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                await self._leases.checkpoint(self._shards)
            except Temporary as error:
                logger.warning("Counts are not recorded: %s", error, extra={"action": "record"})
            took = clock() - began
            await asyncio.sleep(max(self._every_s, _RECORDING_SHARE * took))

    async def _flush(self, shards: Iterable[LeasedShard]) -> None:
        """Side by side: a slow object delays no other shard's results."""
        async with asyncio.TaskGroup() as group:
            for shard in shards:
                group.create_task(self._flush_one(shard))

    async def _flush_one(self, shard: LeasedShard) -> None:
        try:
            await self._leases.flush(shard)
        except Exception:  # noqa: BLE001 - belongs to one part
            report_unforeseen("flush", "Results are not stored yet", **log(shard))
