"""Writes a plan in pieces under temporary keys, so that one short script can adopt it.

A plan may have tens of thousands of shards: as arguments of one script they would block the server
and all its clients. So they are written under the fresh name of this attempt first, some hundreds
at a time; the script that moves the batch on then only renames three keys. An attempt that does not
get there is dropped by its expiry.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

from batch_gateway.adapters.redis_metadata.codec import from_planned
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts, translated
from batch_gateway.core.model import Shard, ShardState

KINDS = ("shards", "planned", "ready")  # what a plan consists of
CHUNK = 500  # shards per round trip: about 100 KB
LEFTOVERS_EXPIRE = timedelta(hours=1)  # far longer than writing any plan takes


async def stage(scripts: MetadataScripts, shards: Sequence[Shard]) -> str:
    """Write ``shards`` under keys that are not read yet; return their prefix for ``plan.lua``."""
    attempt = uuid4().hex
    for start in range(0, len(shards), CHUNK):
        await _stage_chunk(scripts, attempt, shards[start : start + CHUNK])
    return attempt


async def _stage_chunk(scripts: MetadataScripts, attempt: str, shards: Sequence[Shard]) -> None:
    fields = [text for shard in shards for field in from_planned(shard).items() for text in field]
    planned = {str(shard.index): shard.index for shard in shards}
    ready = {str(shard.index): shard.index for shard in shards if shard.state == ShardState.READY}
    async with translated(), scripts.redis.pipeline(transaction=True) as transaction:
        transaction.hset(scripts.keys.staged("shards", attempt), items=fields)
        transaction.zadd(scripts.keys.staged("planned", attempt), planned)
        if ready:
            transaction.zadd(scripts.keys.staged("ready", attempt), ready)
        for kind in KINDS:
            transaction.expire(scripts.keys.staged(kind, attempt), LEFTOVERS_EXPIRE)
        await transaction.execute()
