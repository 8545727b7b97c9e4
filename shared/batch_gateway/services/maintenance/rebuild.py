"""Fills the queue again from the database.

After the coordination store has lost its data, the whole queue is rebuilt. Each sweep adds the
shards that a process did not queue before it crashed.

Each process that finds the sentinel missing starts a rebuild; a lock, which the holder renews, lets
one run at a time. When the holder crashes or loses the lock, another process starts again; shards
that are queued already take it little time. Leases are not rebuilt: their holders register them
with their next heartbeat. For one lease time no lease is reclaimed for a missing heartbeat, and
slots are granted for running calls only, unless the database shows no lease.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import BatchId, ShardId, batch_id, shard_id, split_shard_id
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.metadata import MetadataStore

logger = logging.getLogger(__name__)

_PAGE = 1000
#: Ready shards that one sweep compares with the queue.
AT_MOST = 20_000
LOCK = timedelta(seconds=30)  # how long a rebuild outlives its process


async def refill(metadata: MetadataStore, coordination: CoordinationStore) -> int:
    """Push every ready shard of the database; those that are queued stay as they are.

    Returns how many were missing. Pages through the whole backlog.
    """
    pushed = 0
    after: ShardId | None = None
    while entries := await metadata.shards.ready(after=after, limit=_PAGE):
        pushed += await coordination.queue.push(entries)
        after = entries[-1].shard
    return pushed


class QueueRebuilder:
    """Queues ready shards again that the queue lacks: a planner died before it pushed them.

    One look takes ``AT_MOST`` shards, so it costs the same however long the backlog is. The next
    one continues behind them, and after the last shard from the first on. A process begins
    anywhere, so many short-lived ones see the whole backlog too.
    """

    def __init__(self, metadata: MetadataStore, coordination: CoordinationStore) -> None:
        self._metadata = metadata
        self._coordination = coordination
        self._after = shard_id(batch_id(secrets.token_bytes(16)), 0)

    async def push(self) -> int:
        """Look at the next shards; how many of them were missing."""
        start, left = _place(self._after), AT_MOST
        after: ShardId | None = self._after
        pushed, around = 0, False
        while left > 0:
            entries = await self._metadata.shards.ready(after=after, limit=min(_PAGE, left))
            pushed += await self._coordination.queue.push(entries)
            left -= len(entries)
            if entries:
                after = self._after = entries[-1].shard
                if around and _place(after) >= start:
                    break
            elif around:
                break
            else:
                after, around = None, True
        return pushed


def _place(shard: ShardId) -> tuple[BatchId, int]:
    """What the metadata store sorts ready shards by."""
    return split_shard_id(shard)


async def ensure_generation(
    metadata: MetadataStore, coordination: CoordinationStore
) -> timedelta | None:
    """Make sure that the queue is complete; returns the age of its generation.

    None while another process is rebuilding it.
    """
    if (generation := await coordination.generation()) is not None:
        return generation[1]
    me = secrets.token_hex(8)
    if not await coordination.begin_rebuild(me, LOCK):
        return None
    async with _renewed(coordination, me):
        pushed = await refill(metadata, coordination)
        none_held = not await metadata.shards.leased(limit=1)
    if not await coordination.end_rebuild(me, secrets.token_hex(8), settled=none_held):
        logger.warning("Another process rebuilds the queue", extra={"action": "rebuild"})
        return None
    logger.warning(
        "The coordination store was empty; %d shards queued again",
        pushed,
        extra={"action": "rebuilt"},
    )
    return timedelta(0)


@asynccontextmanager
async def _renewed(coordination: CoordinationStore, holder: str) -> AsyncIterator[None]:
    """Renew the lock of a rebuild as long as the context is open.

    A lock that is lost is noticed when the generation is planted: what was pushed until then is
    right in any case.
    """

    async def renew() -> None:
        while True:
            await asyncio.sleep(LOCK.total_seconds() / 3)
            try:
                await coordination.begin_rebuild(holder, LOCK)
            except Temporary as error:
                logger.info(
                    "The lock of a rebuild is not renewed: %s", error, extra={"action": "rebuild"}
                )

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
