"""Throughput reports on Redis: a hash per batch and per model, an entry per bucket of time.

All holders add to the same buckets under the server's clock. What a holder has left is its own
entry with its own expiry, so a holder that died is soon forgotten.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain

from redis.asyncio import Redis

from batch_gateway.adapters.redis_coordination.server import (
    CoordinationScripts,
    milliseconds,
    translated,
)
from batch_gateway.core.ids import ActivationId, BatchId
from batch_gateway.core.throughput import (
    BUCKET,
    KEPT,
    BatchThroughput,
    BlockedReason,
    Buckets,
    LeasedWork,
)
from batch_gateway.ports.throughput import WorkReport

_AT_ONCE = 100  # batches or models per call: a script blocks the server while it runs


class RedisThroughput:
    def __init__(self, client: Redis, scripts: CoordinationScripts, root: str) -> None:
        self._client = client
        self._root = root
        self._report = scripts.load("pace_report")
        self._read = scripts.load("pace_read")

    async def report(
        self, holder: ActivationId, reports: Sequence[WorkReport], *, ttl: timedelta
    ) -> None:
        if not reports:
            return
        for start in range(0, len(reports), _AT_ONCE):
            told = chain.from_iterable(
                (s.batch, s.model, s.done, s.left, s.blocked or "")
                for s in reports[start : start + _AT_ONCE]
            )
            await self._report(
                [self._root], [holder, milliseconds(ttl), milliseconds(BUCKET), KEPT, *told]
            )

    async def of_batches(self, batches: Sequence[BatchId]) -> Mapping[BatchId, BatchThroughput]:
        found = await self._entries("batch", batches)
        return {
            batch: _pace(entries)
            for batch, entries in zip(batches, found, strict=True)
            if any(name == "since" for name, _ in entries)
        }

    async def block(self, reasons: Mapping[str, BlockedReason | None], *, ttl: timedelta) -> None:
        if not reasons:
            return
        async with translated(), self._client.pipeline(transaction=False) as commands:
            for model, reason in reasons.items():
                if reason is None:
                    commands.delete(self._blocked(model))
                else:
                    commands.set(self._blocked(model), reason.value, px=milliseconds(ttl))
            await commands.execute()

    async def blocked(self, models: Sequence[str]) -> Mapping[str, BlockedReason]:
        if not models:
            return {}
        async with translated():
            found = await self._client.mget([self._blocked(model) for model in models])
        return {
            model: BlockedReason(str(reason))  # the client decodes
            for model, reason in zip(models, found, strict=True)
            if reason is not None
        }

    def _blocked(self, model: str) -> str:
        return f"{self._root}:blocked:{model}"

    async def of_models(self, models: Sequence[str]) -> Mapping[str, Buckets]:
        found = await self._entries("model", models)
        return {
            model: {int(number): float(cost) for number, cost in entries}
            for model, entries in zip(models, found, strict=True)
        }

    async def _entries(self, kind: str, names: Sequence[str]) -> list[list[tuple[str, str]]]:
        keys = [f"{self._root}:{kind}:{name}" for name in names]
        answers: list[Sequence[str]] = []
        for start in range(0, len(keys), _AT_ONCE):
            answers += await self._read(keys[start : start + _AT_ONCE])
        return [list(zip(flat[::2], flat[1::2], strict=True)) for flat in answers]


def _pace(entries: Iterable[tuple[str, str]]) -> BatchThroughput:
    told_ms = {"since": 0, "at": 0}
    done: dict[int, float] = {}
    held: list[LeasedWork] = []
    for entry, value in entries:
        kind, _, name = entry.partition(":")
        match kind:
            case "since" | "at":
                told_ms[kind] = int(value)
            case "done":
                done[int(name)] = float(value)
            case "left":
                cost, _, why = value.partition(":")
                blocked = BlockedReason(why) if why else None
                held.append(LeasedWork(model=name, cost=float(cost), blocked=blocked))
    since, at = (datetime.fromtimestamp(ms / 1000, UTC) for ms in told_ms.values())
    return BatchThroughput(since=since, at=at, done=done, held=tuple(held))
