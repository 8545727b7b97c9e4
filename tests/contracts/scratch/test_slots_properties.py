"""Whatever holders do: no call is started above the limit, and no wanted slot stays idle."""

from dataclasses import dataclass

import pytest
from fixtures.scratch import MINUTE, NO_TIME, POOL, open_own, settle, sync
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.limits import PoolObservation
from batch_gateway.settings import LimitSettings

pytestmark = pytest.mark.redis

RULES = LimitSettings(start=10, ceiling=30)
NAMES = [f"h{n}" for n in range(6)]


@dataclass
class Holder:
    """An executor: starts calls up to its grant, never more."""

    running: int = 0
    grant: int = 0


steps = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["sync", "sync", "sync", "end", "drop", "crash", "leave"]),
        st.integers(0, 30),
    ),
    max_size=60,
)
examples = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def total(coordination: RedisCoordinationStore) -> tuple[int, int]:
    """(limit, slots on record) of the pool."""
    for pool in await coordination.slots.pools():
        return int(pool.limit.limit), pool.granted
    return RULES.start, 0


async def step(
    coordination: RedisCoordinationStore, holder: Holder, name: str, verb: str, n: int
) -> None:
    match verb:
        case "sync":
            holder.running = max(holder.running, min(holder.grant, n))
            limit, before = await total(coordination)
            seen = PoolObservation(successes=n)
            grant = await sync(
                coordination, name, max(n, holder.running), holder.running, seen=seen
            )
            holder.grant = grant.slots
            _, after = await total(coordination)
            assert after <= max(limit, before)
            assert grant.slots <= max(n, holder.running)
        case "end":
            holder.running = max(0, holder.running - n)
        case "drop":
            limit, _ = await total(coordination)
            drop = PoolObservation(dropped=1)
            grant = await sync(coordination, name, holder.running, holder.running, seen=drop)
            holder.grant = grant.slots
            assert grant.limit == 1 or limit // 2 <= grant.limit < limit
        case "crash":  # gone without a word; its calls are aborted before its grant expires
            await sync(coordination, name, holder.running, holder.running, ttl=NO_TIME)
            holder.running = holder.grant = 0
        case "leave":
            await coordination.slots.leave(ActivationId(name), [POOL])
            holder.running = holder.grant = 0


@examples
@given(steps=steps)
async def test_records_rise_only_within_the_limit(
    redis_url: str, steps: list[tuple[str, str, int]]
) -> None:
    coordination = open_own(redis_url, rules=RULES, interval=NO_TIME)
    await settle(coordination)
    holders = {name: Holder() for name in NAMES}

    for name, verb, n in steps:
        await step(coordination, holders[name], name, verb, n)

    await coordination.close()


@examples
@given(wants=st.lists(st.integers(0, 20), min_size=1, max_size=6), before=steps)
async def test_after_three_rounds_all_that_is_wanted_and_allowed_is_granted_fairly(
    valkey_url: str, wants: list[int], before: list[tuple[str, str, int]]
) -> None:
    coordination = open_own(valkey_url, rules=RULES)
    await settle(coordination)
    holders = {name: Holder() for name in NAMES}
    for name, verb, n in before:
        if verb != "drop":
            await step(coordination, holders[name], name, verb, n)
    for name in NAMES:
        await coordination.slots.leave(ActivationId(name), [POOL])
    for name in NAMES[: len(wants)]:
        await sync(coordination, name, want=20)

    for _ in range(3):
        grants = [
            (await sync(coordination, name, want)).slots
            for name, want in zip(NAMES, wants, strict=False)
        ]

    assert sum(grants) == min(RULES.start, sum(wants))
    short = [grant for grant, want in zip(grants, wants, strict=True) if grant < want]
    assert all(grant >= max(grants) - 1 for grant in short)
    await coordination.close()


@examples
@given(running=st.lists(st.integers(0, 12), min_size=1, max_size=5))
async def test_after_a_wipe_the_calls_that_still_run_are_all_accounted_for(
    valkey_url: str, running: list[int]
) -> None:
    coordination = open_own(valkey_url, rules=RULES)
    for name, calls in zip(NAMES, running, strict=False):
        grant = await sync(coordination, name, want=30, in_use=calls, ttl=MINUTE)
        assert grant.slots <= calls
    await settle(coordination)

    newcomer = await sync(coordination, "newcomer", want=30)

    assert newcomer.slots <= max(0, RULES.start - sum(running))
    await coordination.close()
