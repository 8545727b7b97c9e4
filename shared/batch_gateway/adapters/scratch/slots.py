"""Slots on Redis: one limit per pool, lent to holders in short-lived grants.

A sync is one script: it drops holders that have gone silent, shares the limit out fairly by what
everybody wants, and never lends more than the limit minus what all others hold on record. On
record is the greater of granted and in use, so a lowered limit is reached by grants that only
fall, and a rise never overtakes calls that still run.

What holders see is added up on the server. Once per controller interval one caller takes the sum
away, folds it (``core.limits``) and sets the new limit by compare-and-set; if somebody else has
set it meanwhile, his view was as good, and this one is dropped.

After a wipe the server does not know which calls are running. Until a generation is planted, and
for one lifetime of a grant after it, holders are granted at most what they report as in use; when
that time is over, whoever has not reported has no calls any more. The limit begins anew.
A pool that nobody syncs is remembered for an hour, then it starts like an unknown one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis

from batch_gateway.adapters.scratch.keys import Keys
from batch_gateway.adapters.scratch.server import Scripts, milliseconds, translated
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.limits import (
    LimitRules,
    LimitState,
    Observation,
    fold,
    initial,
    slots,
)
from batch_gateway.ports.scratch import Grant, PoolState

_MEMORY = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Synced:
    granted: int
    wanted: int  # by all holders together
    generation: str | None
    state: LimitState
    version: str
    seen: Observation | None  # None: it is not time to fold

    def grant(self, state: LimitState) -> Grant:
        """What the caller is told under ``state``; a cut binds him before the next sync."""
        limit = slots(state)
        return Grant(
            slots=min(self.granted, limit),
            limit=limit,
            free=max(0, limit - self.wanted),
            generation=self.generation,
        )


class RedisSlots:
    def __init__(
        self,
        client: "Redis",
        scripts: Scripts,
        keys: Keys,
        rules: LimitRules,
        interval: timedelta,
    ) -> None:
        self._client = client
        self._root = keys.slots
        self._generation = keys.generation
        self._rules = rules
        self._interval = interval
        self._sync = scripts.load("slots_sync")
        self._commit = scripts.load("slots_commit")
        self._pools = scripts.load("slots_pools")

    async def sync(
        self,
        pool: str,
        holder: ActivationId,
        *,
        want: int,
        in_use: int,
        seen: Observation,
        ttl: timedelta,
    ) -> Grant:
        synced = await self._report(pool, holder, want, in_use, seen, ttl)
        if synced.seen is None:
            return synced.grant(synced.state)
        state = fold(synced.state, synced.seen, self._rules)
        if state == synced.state or not await self._set(pool, synced.version, state):
            return synced.grant(synced.state)
        return synced.grant(state)

    async def leave(self, pool: str, holder: ActivationId) -> None:
        async with translated():
            await self._client.hdel(f"{self._root}:holders:{pool}", holder)

    async def pools(self) -> Sequence[PoolState]:
        return [
            PoolState(
                pool=pool,
                limit=_state(limit, slow_start, last_brake),
                granted=granted,
                holders=holders,
            )
            for pool, limit, slow_start, last_brake, granted, holders in await self._pools(
                [self._root], [repr(initial(self._rules).limit)]
            )
        ]

    async def _report(
        self,
        pool: str,
        holder: ActivationId,
        want: int,
        in_use: int,
        seen: Observation,
        ttl: timedelta,
    ) -> _Synced:
        answer = await self._sync(
            [self._root, self._generation],
            [
                pool,
                holder,
                want,
                in_use,
                seen.successes,
                seen.dropped,
                seen.ignored,
                seen.brake or "",
                milliseconds(ttl),
                milliseconds(self._interval),
                repr(initial(self._rules).limit),
                milliseconds(_MEMORY),
            ],
        )
        granted, limit, slow_start, last_brake, wanted, generation, version, sums = answer
        state = _state(limit, slow_start, last_brake)
        return _Synced(
            granted=granted,
            wanted=wanted,
            generation=generation,
            state=state,
            version=version,
            seen=_observation(*sums) if sums else None,
        )

    async def _set(self, pool: str, version: str, state: LimitState) -> bool:
        committed = await self._commit(
            [self._root],
            [
                pool,
                version,
                repr(state.limit),
                int(state.slow_start),
                state.last_brake or "",
                milliseconds(_MEMORY),
            ],
        )
        return bool(committed)


def _state(limit: str, slow_start: str, last_brake: str) -> LimitState:
    return LimitState(
        limit=float(limit), slow_start=slow_start == "1", last_brake=last_brake or None
    )


def _observation(
    successes: int, dropped: int, ignored: int, in_flight: int, brake: str
) -> Observation:
    return Observation(
        successes=successes,
        dropped=dropped,
        ignored=ignored,
        in_flight=in_flight,
        brake=brake or None,
    )
