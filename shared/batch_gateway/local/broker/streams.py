"""Queues of accepted events: one Redis stream per Trigger, each with one consumer group.

An entry stays pending from its first reading until its final outcome, then acknowledging and
deleting it is one transaction, so a stream holds exactly what is still to be done. A broker that
was killed finds what it had read under the same consumer name and starts over with it. The server
writes every change to disk before it answers (``appendfsync always``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from batch_gateway.local.broker.events import StoredEvent

_GROUP = "broker"
_CONSUMER = "broker"
_FIELD = b"event"
_PREFIX = "events:"
_BLOCK_MS = 1000
_SOCKET_TIMEOUT_S = 10.0
#: The server is restarted when it crashes; a connection survives that.
_RETRIES = Retry(ExponentialBackoff(cap=0.5, base=0.05), 10)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StoredEvent).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEntry:
    """An event on its way to one Trigger's subscriber."""

    stream: str
    id: bytes
    event: StoredEvent


def connect(url: str) -> Redis:
    return Redis.from_url(
        url,
        retry=_RETRIES,
        retry_on_error=[ConnectionError, TimeoutError],
        socket_timeout=_SOCKET_TIMEOUT_S,
    )


class EventStreams:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def prepare(self, streams: Sequence[str]) -> list[str]:
        """Make sure that these streams exist and no others; return the names of those removed."""
        wanted = {_PREFIX + stream for stream in streams}
        for key in wanted:
            try:
                await self._redis.xgroup_create(key, _GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
        found = {key.decode() async for key in self._redis.scan_iter(match=f"{_PREFIX}*")}
        for key in found - wanted:
            await self._redis.delete(key)
        return sorted(key.removeprefix(_PREFIX) for key in found - wanted)

    async def append(
        self, events: Sequence[tuple[str, StoredEvent]], *, done: StreamEntry | None = None
    ) -> None:
        """Add events to their streams and settle ``done``, in one transaction on disk."""
        async with self._redis.pipeline(transaction=True) as transaction:
            for stream, event in events:
                transaction.xadd(_PREFIX + stream, {_FIELD: _encode(event)})
            if done is not None:
                self._settle(transaction, done)
            await transaction.execute()

    async def settle(self, entry: StreamEntry) -> None:
        """Forget an entry whose outcome is final."""
        await self.append([], done=entry)

    async def unsettled(self, stream: str) -> list[StreamEntry]:
        """What an earlier life of the broker had read and not settled, oldest first."""
        return await self._read(stream, "0", count=None, block_ms=None)

    async def next(self, stream: str, count: int) -> list[StreamEntry]:
        """At most ``count`` new entries; waits a moment for them, and may return none."""
        return await self._read(stream, ">", count=count, block_ms=_BLOCK_MS)

    async def _read(
        self, stream: str, after: str, *, count: int | None, block_ms: int | None
    ) -> list[StreamEntry]:
        key = _PREFIX + stream
        answer = await self._redis.xreadgroup(
            _GROUP, _CONSUMER, {key: after}, count=count, block=block_ms
        )
        return [
            StreamEntry(stream=stream, id=id_, event=_decode(fields[_FIELD]))
            for id_, fields in _entries(answer)
            if fields  # None: deleted while pending
        ]

    @staticmethod
    def _settle(transaction: Pipeline, entry: StreamEntry) -> None:
        key = _PREFIX + entry.stream
        transaction.xack(key, _GROUP, entry.id)
        transaction.xdel(key, entry.id)


def _entries(answer: Any) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
    """The entries in XREADGROUP's answer, which the client shapes by protocol version."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (found,) = answer.values()
        found = found[0] if found and isinstance(found[0], list) else found
    else:
        found = answer[0][1]
    return cast(list[tuple[bytes, Mapping[bytes, bytes]]], found)
