"""After the scratch server lost its memory: fill the queue again from the database.

Whoever finds the sentinel missing tries; one at a time does it. Leases are not rebuilt: their
holders register them again with their next heartbeat. For one lease time nobody's silence counts
against him, and no slot is granted beyond what is running - unless the database shows no lease.
"""

import logging
import secrets
from datetime import timedelta

from batch_gateway.core.ids import ShardId
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.scratch import Scratch

logger = logging.getLogger(__name__)

_PAGE = 1000
_LOCK = timedelta(seconds=30)


async def refill(metadata: MetadataStore, scratch: Scratch) -> int:
    """Push every ready shard that the database knows; those that are queued stay as they are.

    Returns how many were missing. Pages through the whole backlog.
    """
    pushed = 0
    after: ShardId | None = None
    while tickets := await metadata.shards.ready(after=after, limit=_PAGE):
        pushed += await scratch.queue.push(tickets)
        after = tickets[-1].shard
    return pushed


async def ensure_generation(metadata: MetadataStore, scratch: Scratch) -> timedelta | None:
    """Make sure that the queue is complete; returns the age of its generation.

    None while somebody else is rebuilding it.
    """
    if (generation := await scratch.generation()) is not None:
        return generation[1]
    me = secrets.token_hex(8)
    if not await scratch.rebuilding(me, _LOCK):
        return None
    pushed = await refill(metadata, scratch)
    nobody_holds = not await metadata.shards.leased(limit=1)
    if not await scratch.plant(me, secrets.token_hex(8), settled=nobody_holds):
        return None
    logger.warning(
        "The scratch server was empty; %d shards queued again", pushed, extra={"action": "rebuilt"}
    )
    return timedelta(0)
