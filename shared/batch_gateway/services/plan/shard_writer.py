"""Writes the shards of a plan into the file store."""

import asyncio
from dataclasses import replace

from batch_gateway.core.call_statistics import CallStatistics
from batch_gateway.core.layout import shard_key
from batch_gateway.core.model import (
    Batch,
    Shard,
    ShardState,
)
from batch_gateway.ports.files import FileStore
from batch_gateway.services.plan.shard_builder import BuiltShard, ShardBuilder
from batch_gateway.services.results.parts import write_part
from batch_gateway.services.task_group import task_group

WRITES = 4  # shard objects being stored at once


async def store_shards(
    files: FileStore, batch: Batch, attempt: str, shard_builder: ShardBuilder
) -> list[Shard]:
    """Store all shards, a few at a time; return them by index."""
    shards: list[Shard] = []
    writing = asyncio.Semaphore(WRITES)

    async def store(draft: BuiltShard) -> None:
        try:
            shards.append(await _store_one(files, batch, attempt, draft))
        finally:
            writing.release()

    async with task_group() as group:
        await writing.acquire()
        while (draft := await shard_builder.next()) is not None:
            group.create_task(store(draft))
            await writing.acquire()
    return sorted(shards, key=lambda shard: shard.index)


async def _store_one(files: FileStore, batch: Batch, attempt: str, draft: BuiltShard) -> Shard:
    shard = Shard(
        batch=batch.id,
        index=draft.index,
        model=draft.model,
        key=shard_key(batch.id, attempt, draft.index, draft.content),
        lines=draft.lines,
        cost=draft.cost,
    )
    if draft.tally is None:
        await files.put(shard.key, draft.content)
        return shard
    part = await write_part(files, shard, 0, [draft.content])
    return replace(
        shard,
        key="",
        state=ShardState.CLOSED,
        parts=(part,),
        tally=replace(draft.tally, statistics=_statistics(draft.content)),
    )


def _statistics(part_lines: bytes) -> str:
    """Those of lines that need no call: what is wrong with them."""
    return CallStatistics.of_lines(part_lines.splitlines(keepends=True)).encoded()
