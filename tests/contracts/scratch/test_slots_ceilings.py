"""Ceilings over several pools: never is more lent, and nothing wanted stays idle."""

from collections import defaultdict

import pytest
from fixtures.scratch import NO_TIME, open_own, settle, sync
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.limits import PoolObservation
from batch_gateway.settings import LimitSettings

pytestmark = pytest.mark.redis

RULES = LimitSettings(start=6, ceiling=12)
TOTAL = 13
CEILINGS = {"a": 8, "b": 9}
POOLS = {"a/one": "a", "a/two": "a", "b/one": "b"}
NAMES = [f"h{n}" for n in range(4)]

examples = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
steps = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(list(POOLS)),
        st.sampled_from(["sync", "sync", "sync", "end", "drop", "crash", "leave"]),
        st.integers(0, 14),
    ),
    max_size=50,
)


async def ask(
    coordination: RedisCoordinationStore, name: str, pool: str, want: int, in_use: int, **more
) -> int:
    endpoint = POOLS[pool]
    grant = await sync(
        coordination,
        name,
        want,
        in_use,
        pool=pool,
        endpoint=endpoint,
        endpoint_ceiling=CEILINGS[endpoint],
        **more,
    )
    return grant.slots


async def recorded(coordination: RedisCoordinationStore) -> dict[str, int]:
    """Slots on record by endpoint."""
    found = dict.fromkeys(CEILINGS, 0)
    for pool in await coordination.slots.pools():
        found[pool.endpoint] += pool.granted
    return found


@examples
@given(steps=steps)
async def test_records_rise_only_within_every_ceiling(
    redis_url: str, steps: list[tuple[str, str, str, int]]
) -> None:
    coordination = open_own(redis_url, rules=RULES, interval=NO_TIME, total=TOTAL)
    await settle(coordination)
    running: dict[tuple[str, str], int] = defaultdict(int)
    grants: dict[tuple[str, str], int] = defaultdict(int)

    for name, pool, verb, n in steps:
        mine = (name, pool)
        before = await recorded(coordination)
        match verb:
            case "sync":
                running[mine] = max(running[mine], min(grants[mine], n))
                seen = PoolObservation(successes=n)
                grants[mine] = await ask(coordination, name, pool, n, running[mine], seen=seen)
            case "end":
                running[mine] = max(0, running[mine] - n)
            case "drop":
                seen = PoolObservation(dropped=1)
                grants[mine] = await ask(
                    coordination, name, pool, running[mine], running[mine], seen=seen
                )
            case "crash":
                await ask(coordination, name, pool, running[mine], running[mine], ttl=NO_TIME)
                running[mine] = grants[mine] = 0
            case "leave":
                await coordination.slots.leave(ActivationId(name), [pool])
                running[mine] = grants[mine] = 0
        after = await recorded(coordination)

        for endpoint, ceiling in CEILINGS.items():
            assert after[endpoint] <= max(ceiling, before[endpoint])
        assert sum(after.values()) <= max(TOTAL, sum(before.values()))

    await coordination.close()


@examples
@given(
    wants=st.dictionaries(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(list(POOLS))), st.integers(0, 14)
    )
)
async def test_all_that_is_wanted_and_allowed_is_granted_in_a_few_rounds(
    valkey_url: str, wants: dict[tuple[str, str], int]
) -> None:
    coordination = open_own(valkey_url, rules=RULES, total=TOTAL)
    await settle(coordination)

    for _ in range(5):
        grants = {
            (name, pool): await ask(coordination, name, pool, want, 0)
            for (name, pool), want in wants.items()
        }

    by_endpoint: dict[str, int] = defaultdict(int)
    for pool, endpoint in POOLS.items():
        wanted = sum(want for (_, one), want in wants.items() if one == pool)
        by_endpoint[endpoint] += min(RULES.start, wanted)
    allowed = sum(min(CEILINGS[endpoint], most) for endpoint, most in by_endpoint.items())
    assert sum(grants.values()) == min(TOTAL, allowed)
    await coordination.close()
