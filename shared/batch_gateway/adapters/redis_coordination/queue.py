"""ShardQueue on Redis: an index whose first elements are the answer.

``lua/queue_index.lua`` describes the keys. Per model the tenants are sorted by virtual time, per
tenant and model the batches by priority and deadline, per batch and model the shards by index; so
the next shard is found by looking at a few first elements, and a model that is left out does not
hide other work. Urgent batches stand in a second index by deadline. They stay in the first one too:
after three urgent proposals in a row the turn goes by virtual time, so that tight deadlines cannot
starve the others.

A shard that is known is in one of three states: ready (in the index), reserved or leased.
Reservations that ran out are put back by the next proposal. Expired leases stay until a caller has
checked them against the database.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar

import msgspec

from batch_gateway.adapters.redis_coordination.server import CoordinationScripts, milliseconds
from batch_gateway.core.ids import BatchId, ShardId, TenantId, shard_id, split_shard_id
from batch_gateway.core.model import LeaseRef, QueueEntry
from batch_gateway.ports.shard_queue import QueueDepth, WaitingWork

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AT_ONCE = 200  # shards per call: a script blocks the server while it runs
_BATCHES = 50  # per call that reads what waits of them: each may have a thousand models


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A queue entry as the scripts read it; instants are microseconds since 1970."""

    batch: str
    index: int
    tenant: str
    model: str
    cost: int
    priority: int
    deadline: int
    urgent_after: int | None


_decode = msgspec.json.Decoder(_Stored).decode


class RedisQueue:
    """``weights``: how much of the fair lane a tenant gets, 1 by default; read when
    the first shard's cost is reckoned.
    """

    def __init__(
        self,
        scripts: CoordinationScripts,
        root: str,
        weights: Callable[[], Mapping[TenantId, float]],
    ) -> None:
        self._keys = [root]
        self._weights_of_tenants = weights
        self._push = scripts.load("queue_index", "queue_push")
        self._propose = scripts.load("queue_index", "queue_propose")
        self._hold = scripts.load("queue_index", "queue_hold")
        self._release = scripts.load("queue_index", "queue_release")
        self._complete = scripts.load("queue_index", "queue_complete")
        self._withdraw = scripts.load("queue_index", "queue_withdraw")
        self._expired = scripts.load("queue_index", "queue_expired")
        self._leases = scripts.load("queue_index", "queue_leases")
        self._reopen = scripts.load("queue_index", "queue_reopen")
        self._discard = scripts.load("queue_index", "queue_discard")
        self._alive = scripts.load("queue_index", "queue_alive")
        self._waiting = scripts.load("queue_index", "queue_waiting")
        self._urge = scripts.load("queue_index", "queue_urge")
        self._depth = scripts.load("queue_index", "queue_depth")

    async def push(self, entries: Sequence[QueueEntry]) -> int:
        new = 0
        for some in _slices(entries):
            args = chain.from_iterable(
                (entry.shard, _encode(entry), self._weight(entry)) for entry in some
            )
            new += int(await self._push(self._keys, list(args)))
        return new

    async def propose(
        self,
        *,
        models: Sequence[str] | None = None,
        avoid: Sequence[str] = (),
        avoid_fair: Sequence[str] | None = (),
        avoid_urgent: Sequence[str] | None = (),
        avoid_batches: Sequence[BatchId] = (),
        held: Sequence[TenantId] | None = None,
        reserve: timedelta = timedelta(seconds=10),
    ) -> QueueEntry | None:
        allowed = "" if models is None else _json(list(models))
        left_out = (
            "" if some is None else _json([*avoid, *some]) for some in (avoid_fair, avoid_urgent)
        )
        sated = set(avoid_fair or ()) - set(avoid) if held is not None else set()
        others = sorted(sated if models is None else sated.intersection(models))
        found = await self._propose(
            self._keys,
            [
                milliseconds(reserve),
                allowed,
                *left_out,
                _json(others),
                _json(list(held or ())),
                _json(list(avoid_batches)),
            ],
        )
        return None if found is None else _entry(found[0], urgent=bool(found[1]))

    async def lease(self, entry: QueueEntry, lease: LeaseRef, ttl: timedelta) -> None:
        await self._hold(self._keys, [milliseconds(ttl), *_fields(lease), _encode(entry)])

    async def renew(self, leases: Sequence[LeaseRef], ttl: timedelta) -> None:
        for some in _slices(leases):
            args = chain.from_iterable((*_fields(lease), "") for lease in some)
            await self._hold(self._keys, [milliseconds(ttl), *args])

    async def release(
        self, entry: QueueEntry, *, refund: float = 0.0, lease: LeaseRef | None = None
    ) -> None:
        over = "" if lease is None else lease.epoch
        await self._release(
            self._keys, [entry.shard, _encode(entry), refund, self._weight(entry), over]
        )

    async def complete(self, shards: Sequence[ShardId]) -> None:
        for some in _slices(shards):
            await self._complete(self._keys, some)

    async def withdraw(self, batch: BatchId) -> int:
        """In steps; what is proposed between two of them is refused by the database."""
        total = 0
        while forgotten := int(await self._withdraw(self._keys, [batch, _AT_ONCE])):
            total += forgotten
        return total

    async def expired(self, limit: int) -> Sequence[LeaseRef]:
        return [
            _lease(shard, recorded) for shard, recorded in await self._expired(self._keys, [limit])
        ]

    async def leases(self, limit: int) -> Sequence[LeaseRef]:
        return [
            _lease(shard, recorded) for shard, recorded in await self._leases(self._keys, [limit])
        ]

    async def reopen(self, leases: Sequence[LeaseRef]) -> None:
        for some in _slices(leases):
            await self._reopen(self._keys, list(chain.from_iterable(map(_recorded, some))))

    async def discard(self, leases: Sequence[LeaseRef]) -> None:
        for some in _slices(leases):
            await self._discard(self._keys, list(chain.from_iterable(map(_recorded, some))))

    async def alive(self, leases: Sequence[LeaseRef]) -> Sequence[bool]:
        answers: list[bool] = []
        for some in _slices(leases):
            found = await self._alive(self._keys, list(chain.from_iterable(map(_recorded, some))))
            answers.extend(bool(one) for one in found)
        return answers

    async def waiting(
        self, most: int, also: Sequence[BatchId] = ()
    ) -> Mapping[BatchId, WaitingWork]:
        found: dict[BatchId, WaitingWork] = {}
        for start in range(0, len(also), _BATCHES):
            some = also[start : start + _BATCHES]
            found |= _waiting(await self._waiting(self._keys, [0, *some]))
        if most:
            found |= _waiting(await self._waiting(self._keys, [most]))
        return found

    async def urge(self, urgent_after: Mapping[BatchId, datetime]) -> None:
        for some in _slices(list(urgent_after.items())):
            args = chain.from_iterable((batch, _microseconds(at) // 1000) for batch, at in some)
            await self._urge(self._keys, list(args))

    async def depth(self) -> QueueDepth:
        ready, leased, reserved = await self._depth(self._keys)
        return QueueDepth(ready=ready, leased=leased, reserved=reserved)

    @cached_property
    def _weights(self) -> Mapping[TenantId, float]:
        weights = self._weights_of_tenants()
        if any(weight <= 0 for weight in weights.values()):
            raise ValueError("a tenant's weight must be above 0")
        return weights

    def _weight(self, entry: QueueEntry) -> float:
        return self._weights.get(entry.tenant, 1.0)


def _waiting(answer: Iterable[Sequence[Any]]) -> dict[BatchId, WaitingWork]:
    return {
        BatchId(batch): WaitingWork(
            deadline=_instant(1000 * int(deadline)),
            urgent_after=_instant(1000 * int(urgent)) if int(urgent) >= 0 else None,
            cost={model: int(cost) for model, cost in zip(costs[::2], costs[1::2], strict=True)},
        )
        for batch, deadline, urgent, costs in answer
    }


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _encode(entry: QueueEntry) -> str:
    batch, index = split_shard_id(entry.shard)
    urgent_after = entry.urgent_after
    return _json(
        _Stored(
            batch=batch,
            index=index,
            tenant=entry.tenant,
            model=entry.model,
            cost=entry.cost,
            priority=entry.priority,
            deadline=_microseconds(entry.deadline),
            urgent_after=None if urgent_after is None else _microseconds(urgent_after),
        )
    )


def _entry(text: str, *, urgent: bool) -> QueueEntry:
    stored = _decode(text)
    return QueueEntry(
        shard=shard_id(BatchId(stored.batch), stored.index),
        tenant=TenantId(stored.tenant),
        model=stored.model,
        cost=stored.cost,
        priority=stored.priority,
        deadline=_instant(stored.deadline),
        urgent_after=None if stored.urgent_after is None else _instant(stored.urgent_after),
        urgent=urgent,
    )


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def _instant(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND


def _fields(lease: LeaseRef) -> tuple[str, int, str]:
    return lease.shard, lease.epoch, lease.token


def _recorded(lease: LeaseRef) -> tuple[str, str]:
    return lease.shard, f"{lease.epoch}:{lease.token}"


def _lease(shard: str, recorded: str) -> LeaseRef:
    epoch, _, token = recorded.partition(":")
    return LeaseRef(shard=ShardId(shard), epoch=int(epoch), token=token)
