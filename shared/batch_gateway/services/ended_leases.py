"""Removes leases from the queue that have ended in the database.

A holder ends a lease in the database first and tells the queue afterwards. One that dies in between
leaves a lease in the queue that nothing renews and nothing needs: until it runs out, executors stay
for it, and a shard that was handed back is not proposed.
"""

from collections.abc import Sequence

from batch_gateway.core.model import LeaseRef
from batch_gateway.ports.shard_queue import ShardQueue
from batch_gateway.ports.shards import ShardRows

_AT_ONCE = 200  # leases that one query asks about


async def settle_ended_leases(
    rows: ShardRows, queue: ShardQueue, leases: Sequence[LeaseRef]
) -> Sequence[LeaseRef]:
    """Remove those of ``leases`` from the queue that ended in the database; return them.

    Shards of them that are ready are proposed again. Leases that are held stay as they are; so do
    newer ones of the same shards. Raises Unavailable.
    """
    ended: list[LeaseRef] = []
    for start in range(0, len(leases), _AT_ONCE):
        found = await rows.standings(leases[start : start + _AT_ONCE])
        over = [one for one in found if not one.held]
        await queue.reopen([one.lease for one in over if one.ready])
        await queue.discard([one.lease for one in over if not one.ready])
        ended += [one.lease for one in over]
    return ended
