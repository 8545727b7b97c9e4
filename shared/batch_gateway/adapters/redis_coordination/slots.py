"""Slots on Redis: one limit per pool, divided into short-lived grants of holders.

A sync is one script for all pools of a holder: it drops holders that have gone silent, divides the
limits fairly by what each holder can use, and never grants more than the limit minus what all
others hold on record. On record is the greater of granted and in use, so a lowered limit is reached
by grants that only fall, and a rise never overtakes calls that still run. Ceilings of an endpoint
and of all endpoints are kept the same way: they are shared fairly among their pools, and no grant
exceeds what the records of all others leave.

What holders see is added up on the server. Once per controller interval one caller takes the sum
away, folds it (``core.limits``) and sets the new limit by compare-and-set; if another caller has
set it meanwhile, this result is dropped. The same script makes one holder of each pool its monitor,
for as long as it keeps syncing.

After a wipe the server has no record of the running calls. Until a generation is planted, and
for one lifetime of a grant after it, holders are granted at most what they report as in use; after
that a holder that has not reported has no calls any more. The limit begins anew. What an idle pool
has learned ages (``core.limits``); after ten half-lives it is forgotten.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from redis.asyncio import Redis

from batch_gateway.adapters.redis_coordination.keys import CoordinationKeys
from batch_gateway.adapters.redis_coordination.server import (
    CoordinationScripts,
    milliseconds,
    translated,
)
from batch_gateway.core.breaker import BreakerState
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.limits import (
    LimitState,
    MonitorSignal,
    PoolObservation,
    aged,
    fold,
    initial,
    slots,
)
from batch_gateway.core.pool_history import SAMPLE_EVERY, PoolSample
from batch_gateway.ports.coordination import PoolState, SlotGrant, SlotReport
from batch_gateway.settings import LimitSettings

logger = logging.getLogger(__name__)

_HALF_LIVES = 10  # after which an idle pool is forgotten
_PAGE = 250  # pools per call: a script blocks the server while it runs
_SAMPLES = timedelta(hours=1) // SAMPLE_EVERY  # of a pool that are kept
_WATCH = timedelta(seconds=1)  # a monitor, or its signal, is valid for so long

_encode = msgspec.json.Encoder().encode
_decode_state = msgspec.json.Decoder(LimitState).decode
_decode_signal = msgspec.json.Decoder(MonitorSignal).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Synced:
    """The server's reply about one pool."""

    grant: int
    share: int  # the holder's, if no call were running
    state: LimitState
    wanted: int  # by all holders together
    version: str
    watch: bool
    bound: int | None  # what ceilings leave of the limit; None: all of it
    seen: PoolObservation | None  # None: it is not time to fold
    idle: timedelta  # before ``seen``
    others_in_use: int
    others_slots: int
    answered: int  # calls of all holders since the pool is known

    def granted(
        self, state: LimitState, report: SlotReport, *, generation: str | None, now: datetime
    ) -> SlotGrant:
        """The grant of the holder under ``state``; a cut applies to it before the next sync."""
        limit = slots(state) if self.bound is None else min(self.bound, slots(state))
        before = slots(self.state) if self.bound is None else self.bound
        share = min(self.share, self.share * limit // max(1, before))
        mine = min(self.grant, limit)
        others = min(
            self.wanted - max(report.want, report.in_use), limit - max(mine, report.in_use)
        )
        return SlotGrant(
            slots=mine,
            limit=limit,
            free=max(0, limit - self.wanted),
            generation=generation,
            excess=max(0, report.in_use - share) if state.aborts(now) else 0,
            users_wait=state.aborts(now),
            watch=self.watch,
            others_in_use=self.others_in_use,
            others_most=max(self.others_slots, others),
            answered=self.answered,
        )


class RedisSlots:
    def __init__(
        self,
        client: "Redis",
        scripts: CoordinationScripts,
        keys: CoordinationKeys,
        limits: LimitSettings,
    ) -> None:
        self._client = client
        self._root = keys.slots
        self._generation = keys.generation
        self._limits = limits
        self._memory = milliseconds(_HALF_LIVES * limits.half_life)
        self._sync = scripts.load("slots_sync")
        self._commit = scripts.load("slots_commit")
        self._pools = scripts.load("slots_pools")

    async def sync(
        self, holder: ActivationId, reports: Mapping[str, SlotReport], *, ttl: timedelta
    ) -> Mapping[str, SlotGrant]:
        now_ms, generation, answers = await self._sync(
            [self._root, self._generation],
            [
                holder,
                milliseconds(ttl),
                milliseconds(self._limits.interval),
                repr(initial(self._limits).limit),
                self._memory,
                self._limits.total or 0,
                milliseconds(_WATCH),
                milliseconds(SAMPLE_EVERY),
                _SAMPLES,
                *(word for pool, report in reports.items() for word in _spelled(pool, report)),
            ],
        )
        now = _instant(now_ms)
        synced = {pool: _synced(answer) for pool, answer in zip(reports, answers, strict=True)}
        states = await self._fold(synced, reports, now)
        return {
            pool: one.granted(states[pool], reports[pool], generation=generation, now=now)
            for pool, one in synced.items()
        }

    async def leave(self, holder: ActivationId, pools: Sequence[str]) -> None:
        async with translated():
            for pool in pools:
                await self._client.hdel(f"{self._root}:holders:{pool}", holder)

    async def pools(self) -> Sequence[PoolState]:
        states: dict[str, PoolState] = {}  # one may move to the next page meanwhile
        limit, first = repr(initial(self._limits).limit), 0
        while True:
            _now, found = await self._pools(
                [self._root], [limit, milliseconds(_WATCH), first, _PAGE]
            )
            states |= {one[0]: _pool_state(one, self._limits) for one in found}
            if len(found) < _PAGE:
                return list(states.values())
            first += _PAGE

    async def history(self, pools: Sequence[str]) -> Mapping[str, Sequence[PoolSample]]:
        async with translated(), self._client.pipeline(transaction=False) as asking:
            for pool in pools:
                asking.lrange(f"{self._root}:history:{pool}", 0, -1)
            found = await asking.execute()
        return {
            pool: [_sample(text) for text in samples]
            for pool, samples in zip(pools, found, strict=True)
        }

    async def _fold(
        self, synced: Mapping[str, _Synced], reports: Mapping[str, SlotReport], now: datetime
    ) -> Mapping[str, LimitState]:
        """The pools' present states, after folding what is to be folded."""
        states = {pool: one.state for pool, one in synced.items()}
        changed = {}
        for pool, one in synced.items():
            if one.seen is None:
                continue
            rules = _bounded_rules(self._limits, reports[pool].ceiling)
            try:
                state = fold(aged(one.state, one.idle, rules), one.seen, rules, now)
            except (
                ArithmeticError,
                ValueError,
            ):  # one pool's numbers must not keep the slots of all
                logger.exception("What was learned of %s is forgotten", pool)
                state = initial(rules)
            if state != one.state:
                changed[pool] = state
        if changed:
            words = [
                word
                for pool, state in changed.items()
                for word in (pool, synced[pool].version, repr(state.limit), _encode(state).decode())
            ]
            done = await self._commit([self._root], [self._memory, *words])
            states |= {
                pool: state
                for (pool, state), was_set in zip(changed.items(), done, strict=True)
                if was_set
            }
        return states


def _bounded_rules(limits: LimitSettings, ceiling: int | None) -> LimitSettings:
    if ceiling is None or ceiling >= limits.ceiling:
        return limits
    ceiling = max(1, ceiling)
    return limits.model_copy(update={"ceiling": ceiling, "floor": min(limits.floor, ceiling)})


def _spelled(pool: str, report: SlotReport) -> Sequence[str | int]:
    seen = report.seen
    return (
        pool,
        report.endpoint,
        report.endpoint_ceiling or 0,
        report.ceiling or 0,
        report.want,
        report.in_use,
        report.aborted,
        seen.successes,
        seen.dropped,
        seen.ignored,
        seen.busy_ms,
        seen.work,
        milliseconds(seen.retry_after),
        "" if seen.signal is None else _encode(seen.signal).decode(),
        report.breaker.value,
    )


def _synced(answer: Sequence[Any]) -> _Synced:
    grant, share, limit, learned, wanted, in_flight, version, watch, bound, seen = answer[:10]
    others_in_use, others_slots, answered = answer[10:]
    return _Synced(
        grant=grant,
        share=share,
        state=_state(limit, learned),
        wanted=wanted,
        version=version,
        watch=bool(watch),
        bound=None if bound < 0 else bound,
        seen=None if seen is None else _observation(in_flight, *seen),
        idle=timedelta(0) if seen is None else timedelta(milliseconds=seen[8] or 0),
        others_in_use=others_in_use,
        others_slots=others_slots,
        answered=answered,
    )


def _observation(
    in_flight: int,
    successes: int,
    dropped: int,
    ignored: int,
    busy_ms: int,
    work: int,
    retry_after_ms: int,
    signal: str,
    watched: int,
    _idle_ms: int | None,
    slots: int,
) -> PoolObservation:
    return PoolObservation(
        successes=successes,
        dropped=dropped,
        ignored=ignored,
        in_flight=in_flight,
        slots=slots,
        busy_ms=busy_ms,
        work=work,
        retry_after=timedelta(milliseconds=retry_after_ms),
        signal=_decode_signal(signal) if signal else None,
        watched=bool(watched),
    )


def _state(limit: str, learned: str) -> LimitState:
    return _decode_state(learned) if learned else LimitState(limit=float(limit))


def _pool_state(found: Sequence[Any], limits: LimitSettings) -> PoolState:
    pool, endpoint, limit, learned, granted, in_use, wanted, holders = found[:8]
    aborted, idle_ms, signal, breaker = found[8:]
    return PoolState(
        pool=pool,
        endpoint=endpoint,
        limit=aged(_state(limit, learned), timedelta(milliseconds=idle_ms or 0), limits),
        granted=granted,
        in_use=in_use,
        wanted=wanted,
        holders=holders,
        aborted=aborted,
        signal=_decode_signal(signal) if signal else None,
        breaker=BreakerState(breaker) if breaker else None,
    )


def _sample(text: str) -> PoolSample:
    at, limit, in_flight = text.split(":")
    return PoolSample(at=_instant(int(at)), limit=float(limit), in_flight=int(in_flight))


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
