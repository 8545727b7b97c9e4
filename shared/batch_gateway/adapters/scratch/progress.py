"""Live progress on Redis: a hash per batch, an entry per open shard.

Each entry carries its own expiry, so the tally of a holder that died vanishes although others of
the same batch are reported.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta

import msgspec
from redis.asyncio import Redis

from batch_gateway.adapters.scratch.server import Scripts, milliseconds, translated
from batch_gateway.core.ids import BatchId, ShardId, shard_id, split_shard_id
from batch_gateway.core.model import Tally

logger = logging.getLogger(__name__)

_AT_ONCE = 50  # batches per call: a script blocks the server while it runs

_decode = msgspec.json.Decoder(Tally).decode


def _tally(text: str) -> Tally | None:
    """None: it cannot be read, and does not keep the others from being read."""
    try:
        return _decode(text)
    except msgspec.MsgspecError as error:
        logger.warning("A tally is unreadable: %s", error, extra={"action": "progress"})
        return None


class RedisProgress:
    def __init__(self, client: "Redis", scripts: Scripts, root: str) -> None:
        self._client = client
        self._root = root
        self._report = scripts.load("progress_report")
        self._read = scripts.load("progress_read")

    async def report(self, shard: ShardId, tally: Tally, ttl: timedelta) -> None:
        batch, index = split_shard_id(shard)
        text = msgspec.json.encode(tally).decode()
        await self._report([self._key(batch)], [index, text, milliseconds(ttl)])

    async def forget(self, shards: Sequence[ShardId]) -> None:
        async with translated(), self._client.pipeline(transaction=False) as commands:
            for shard in shards:
                batch, index = split_shard_id(shard)
                commands.hdel(self._key(batch), str(index))
            await commands.execute()

    async def read(self, batches: Sequence[BatchId]) -> dict[BatchId, dict[ShardId, Tally]]:
        keys = [self._key(batch) for batch in batches]
        answers = [
            answer
            for start in range(0, len(keys), _AT_ONCE)
            for answer in await self._read(keys[start : start + _AT_ONCE])
        ]
        return {
            batch: {
                shard_id(batch, int(index)): tally
                for index, text in zip(entries[::2], entries[1::2], strict=True)
                if (tally := _tally(text)) is not None
            }
            for batch, entries in zip(batches, answers, strict=True)
        }

    def _key(self, batch: BatchId) -> str:
        return f"{self._root}:{batch}"
