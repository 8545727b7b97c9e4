"""Slots: sharing, cuts, dead holders, the controller behind them, and the time after a wipe."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.scratch import HOUR, MINUTE, NO_TIME, POOL, another_process, open_own, settle, sync

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.adapters.redis_coordination import slots as slots_module
from batch_gateway.core.breaker import BreakerState
from batch_gateway.core.ids import ActivationId
from batch_gateway.core.limits import Brake, MonitorSignal, PoolObservation
from batch_gateway.ports.coordination import SlotGrant, SlotReport
from batch_gateway.settings import LimitSettings

pytestmark = pytest.mark.redis

START = LimitSettings().start
DROP = PoolObservation(dropped=1)


@pytest.fixture
async def moving(redis_url):
    """A server whose limits move at every sync."""
    coordination = open_own(redis_url, interval=NO_TIME)
    await settle(coordination)
    yield coordination
    await coordination.close()


async def expire_watch(coordination: RedisCoordinationStore) -> None:
    """As if its keeper had been silent for long."""
    state = f"{coordination._keys.slots}:limit:{POOL}"
    await coordination._client.hset(state, "watch_until", "0")


async def test_one_holder_gets_what_he_wants_up_to_the_limit(
    coordination: RedisCoordinationStore,
) -> None:
    await settle(coordination, "g1")

    modest = await sync(coordination, "a", want=3)
    greedy = await sync(coordination, "a", want=300)

    assert modest == SlotGrant(slots=3, limit=START, free=START - 3, generation="g1", watch=True)
    assert greedy == SlotGrant(slots=START, limit=START, free=0, generation="g1", watch=True)


async def test_holders_come_to_fair_shares_as_calls_end(
    coordination: RedisCoordinationStore,
) -> None:
    await settle(coordination)
    await sync(coordination, "a", want=50)

    newcomer = await sync(coordination, "b", want=50)
    running = await sync(coordination, "a", want=50, in_use=START)
    still_full = await sync(coordination, "b", want=50)
    ended = await sync(coordination, "a", want=50, in_use=4)
    at_last = await sync(coordination, "b", want=50)

    assert newcomer.slots == still_full.slots == 0
    assert running.slots == ended.slots == 4  # below what is in use: start nothing
    assert at_last.slots == 4


async def test_what_the_modest_leave_is_for_the_others(
    coordination: RedisCoordinationStore,
) -> None:
    await settle(coordination)
    await sync(coordination, "a", want=1)
    await sync(coordination, "b", want=0)

    assert (await sync(coordination, "c", want=100)).slots == START - 1


async def test_the_indivisible_rest_stays_where_it_is(coordination: RedisCoordinationStore) -> None:
    await settle(coordination)
    wants = {"a": 9, "b": 9, "c": 9}
    for _ in range(3):
        shares = {
            name: (await sync(coordination, name, want)).slots for name, want in wants.items()
        }
    again = {name: (await sync(coordination, name, want)).slots for name, want in wants.items()}

    assert sorted(shares.values()) == [2, 3, 3]
    assert again == shares


async def test_a_silent_holder_loses_his_grant(coordination: RedisCoordinationStore) -> None:
    await settle(coordination)
    await sync(coordination, "a", want=8, ttl=NO_TIME)

    assert (await sync(coordination, "b", want=8)).slots == 8
    assert (await sync(coordination, "a", want=8)).slots == 0


async def test_leaving_gives_everything_back_at_once(coordination: RedisCoordinationStore) -> None:
    await settle(coordination)
    await sync(coordination, "a", want=8)

    await coordination.slots.leave(ActivationId("a"), [POOL])

    assert (await sync(coordination, "b", want=8)).slots == 8


async def test_pools_do_not_share(coordination: RedisCoordinationStore) -> None:
    await settle(coordination)

    one = await sync(coordination, "a", want=99, pool="one")
    other = await sync(coordination, "a", want=99, pool="other")

    assert one.slots == other.slots == START


async def test_pools_are_listed_with_what_they_have_learned(moving: RedisCoordinationStore) -> None:
    await sync(moving, "a", want=3, in_use=2, seen=PoolObservation(dropped=1))
    await sync(moving, "b", want=2)
    await sync(moving, "dead", want=2, ttl=NO_TIME)

    (state,) = await moving.slots.pools()

    assert (state.pool, state.granted, state.holders) == (POOL, 5, 2)
    assert (state.in_use, state.wanted, state.endpoint) == (2, 5, "engine")
    assert (state.limit.limit, state.limit.last_brake) == (7.0, Brake.DROPPED)
    assert state.limit.reason == "1 call was refused, timed out or broke"


async def test_the_history_of_a_pool_has_a_sample_every_ten_seconds(
    moving: RedisCoordinationStore,
) -> None:
    state = f"{moving._keys.slots}:limit:{POOL}"

    async def ten_seconds_pass() -> None:
        seen = int(await moving._client.hget(state, "sampled_at"))
        await moving._client.hset(state, "sampled_at", seen - 10_000)

    await sync(moving, "a", want=3, in_use=2)
    await sync(moving, "b", want=2, in_use=2)
    await ten_seconds_pass()
    await sync(moving, "a", want=9, in_use=3, seen=PoolObservation(dropped=1))
    await sync(moving, "b", want=9, in_use=1)
    await ten_seconds_pass()
    await sync(moving, "b", want=9, in_use=1)

    found = await moving.slots.history([POOL, "unknown"])

    assert [(one.limit, one.in_flight) for one in found[POOL]] == [(8, 2), (8, 5), (7, 4)]
    ages = [datetime.now(UTC) - one.at for one in found[POOL]]
    assert all(timedelta(seconds=-1) < age < MINUTE for age in ages)
    assert found["unknown"] == []


async def test_the_history_of_a_pool_is_bounded_and_forgotten_after_an_hour(
    moving: RedisCoordinationStore,
) -> None:
    history = f"{moving._keys.slots}:history:{POOL}"
    await moving._client.rpush(history, *[f"{n}:1:0" for n in range(400)])

    await sync(moving, "a", want=1)

    found = (await moving.slots.history([POOL]))[POOL]
    assert len(found) == 360
    assert found[-1].limit == START
    assert 3_590_000 < await moving._client.pttl(history) <= 3_600_000


async def test_no_pool_is_listed_before_its_first_sync(
    coordination: RedisCoordinationStore,
) -> None:
    assert await coordination.slots.pools() == []


async def test_a_drop_cuts_the_limit_at_once(moving: RedisCoordinationStore) -> None:
    await sync(moving, "a", want=50)

    cut = await sync(moving, "a", want=50, in_use=8, seen=DROP)

    assert (cut.limit, cut.slots) == (7, 7)


async def test_after_a_cut_grants_only_fall(moving: RedisCoordinationStore) -> None:
    await sync(moving, "a", want=4)
    await sync(moving, "b", want=4)
    for _ in range(3):
        cut = await sync(moving, "a", want=4, in_use=4, seen=DROP)

    other = await sync(moving, "b", want=9, in_use=0)
    mine = await sync(moving, "a", want=4, in_use=4)

    assert cut.limit == 5
    assert other.slots == 1  # the limit less the four that run at the other holder
    assert mine.slots == 2  # its share: two of its calls must end before it starts another


async def test_full_use_without_trouble_doubles_a_young_limit(
    moving: RedisCoordinationStore,
) -> None:
    await sync(moving, "a", want=50)

    grown = await sync(moving, "a", want=50, in_use=8, seen=PoolObservation(successes=8))

    assert grown.limit == 16
    assert (await sync(moving, "a", want=50, in_use=8)).slots == 16


async def test_an_unused_limit_does_not_grow(moving: RedisCoordinationStore) -> None:
    await sync(moving, "a", want=2)

    grant = await sync(moving, "a", want=2, in_use=2, seen=PoolObservation(successes=500))

    assert grant.limit == START


async def test_all_holders_calls_count_as_use(moving: RedisCoordinationStore) -> None:
    for name in "abcd":
        await sync(moving, name, want=2)
    for name in "abc":
        await sync(moving, name, want=2, in_use=2)

    grant = await sync(moving, "d", want=2, in_use=0, seen=PoolObservation(successes=4))

    assert grant.limit == 12


QUEUE = MonitorSignal(
    brake=Brake.ENGINE, room=-3, reason="3 requests wait", users_wait=True, running=32, waiting=3
)


async def test_what_the_watch_says_reaches_all_holders_and_whoever_asks(
    moving: RedisCoordinationStore,
) -> None:
    await sync(moving, "a", want=4, in_use=4)
    await sync(moving, "b", want=4, in_use=4)
    before = datetime.now(UTC)

    mine = await sync(moving, "a", want=4, in_use=4, seen=PoolObservation(signal=QUEUE))
    other = await sync(moving, "b", want=4, in_use=4)
    (state,) = await moving.slots.pools()

    assert mine.limit == other.limit == 5
    assert (mine.excess, other.excess) == (2, 1)
    assert state.signal == QUEUE
    assert (state.limit.last_brake, state.limit.reason) == (Brake.ENGINE, "3 requests wait")
    assert state.limit.braked_at is not None
    assert abs(state.limit.braked_at - before) < timedelta(minutes=1)


async def test_a_queue_of_calls_of_all_holders_aborts_none(moving: RedisCoordinationStore) -> None:
    await sync(moving, "a", want=4, in_use=4)
    await sync(moving, "b", want=10, in_use=10)  # of before the limit was lowered
    own = replace(QUEUE, running=11)

    grant = await sync(moving, "a", want=4, in_use=4, seen=PoolObservation(signal=own))
    assert (grant.limit, grant.excess, grant.users_wait) == (5, 0, False)

    more = PoolObservation(signal=replace(own, waiting=4))
    assert (await sync(moving, "a", want=4, in_use=4, seen=more)).excess > 0


async def test_a_holder_is_told_the_calls_of_all_others(
    coordination: RedisCoordinationStore,
) -> None:
    await settle(coordination)
    alone = await sync(coordination, "a", want=2, in_use=2, seen=PoolObservation(successes=7))
    await sync(coordination, "b", want=3, in_use=2, seen=PoolObservation(successes=5, dropped=1))
    await sync(coordination, "c", want=50, in_use=1)
    told = await sync(coordination, "a", want=2, in_use=2, seen=PoolObservation(successes=1))
    await sync(coordination, "dead", want=1, in_use=1, ttl=NO_TIME)
    await coordination.slots.leave(ActivationId("b"), [POOL])
    left = await sync(coordination, "a", want=1, in_use=1)

    def others(grant: SlotGrant) -> tuple[int, int]:
        return grant.others_in_use, grant.others_most

    assert others(alone) == (0, 0)
    assert others(told) == (3, START - 2)  # c may take all that is left
    assert others(left) == (1, START - 1)
    assert (alone.answered, told.answered, left.answered) == (7, 13, 13)


async def test_others_have_no_more_calls_than_they_want(
    coordination: RedisCoordinationStore,
) -> None:
    await settle(coordination)
    await sync(coordination, "a", want=2, in_use=1)

    assert (await sync(coordination, "b", want=3, in_use=1)).others_most == 2


async def test_news_of_the_watch_are_folded_once(moving: RedisCoordinationStore) -> None:
    await sync(moving, "a", want=8, in_use=8, seen=PoolObservation(signal=QUEUE))

    assert (await sync(moving, "a", want=8, in_use=5)).limit == 5


async def test_while_a_watch_is_kept_a_limit_does_not_grow_without_its_word(
    moving: RedisCoordinationStore,
) -> None:
    quiet = replace(QUEUE, room=0)
    await sync(moving, "a", want=50, in_use=8, seen=PoolObservation(signal=quiet))

    grant = await sync(moving, "a", want=50, in_use=8, seen=PoolObservation(successes=8))

    assert grant.limit == START


async def test_drops_make_nobody_abort_a_call(moving: RedisCoordinationStore) -> None:
    await sync(moving, "a", want=8)

    assert (await sync(moving, "a", want=8, in_use=8, seen=DROP)).excess == 0


async def test_one_holder_watches_until_he_falls_silent(
    coordination: RedisCoordinationStore,
) -> None:
    first = await sync(coordination, "a", want=8)
    second = await sync(coordination, "b", want=8)
    still = await sync(coordination, "a", want=8)
    await expire_watch(coordination)
    after = await sync(coordination, "b", want=8)
    back = await sync(coordination, "a", want=8)

    assert [one.watch for one in (first, second, still, after, back)] == [
        *(True, False, True),
        *(True, False),
    ]


async def test_aborted_calls_are_counted(coordination: RedisCoordinationStore) -> None:
    await sync(coordination, "a", want=8, aborted=2)
    await sync(coordination, "b", want=8, aborted=3)

    (state,) = await coordination.slots.pools()

    assert state.aborted == 5


async def test_a_pool_has_a_ceiling_of_its_own(moving: RedisCoordinationStore) -> None:
    low = await sync(moving, "a", want=50, in_use=2, ceiling=3)
    high = await sync(moving, "a", want=50, in_use=3, ceiling=30)

    assert (low.slots, low.limit) == (3, 3)
    assert high.limit == 3  # what it has learned meanwhile, and grows from


async def test_an_endpoint_shares_its_ceiling_among_its_pools(
    coordination: RedisCoordinationStore,
) -> None:
    await settle(coordination)

    async def ask(pool: str, want: int, in_use: int = 0, endpoint: str = "engine") -> SlotGrant:
        return await sync(
            coordination, "a", want, in_use, pool=pool, endpoint=endpoint, endpoint_ceiling=6
        )

    first = await ask("engine/one", want=50)
    second = await ask("engine/two", want=50)
    fewer = await ask("engine/one", want=50, in_use=3)
    then = await ask("engine/two", want=50)
    elsewhere = await ask("other/one", want=50, endpoint="other")

    assert (first.slots, first.limit) == (6, 6)
    assert second.slots == 0  # the first one's calls run
    assert fewer.slots == then.slots == 3
    assert elsewhere.slots == 6


async def test_the_total_bounds_all_endpoints_together(redis_url: str) -> None:
    coordination = open_own(redis_url, total=10)
    await settle(coordination)

    one = await sync(coordination, "a", want=50, pool="one/m", endpoint="one")
    two = await sync(coordination, "b", want=50, pool="two/m", endpoint="two")
    modest = await sync(coordination, "a", want=2, pool="one/m", endpoint="one")
    rest = await sync(coordination, "b", want=50, pool="two/m", endpoint="two")

    assert (one.slots, two.slots) == (START, 10 - START)
    assert (modest.slots, rest.slots) == (2, 8)
    await coordination.close()


async def test_several_pools_are_synced_at_once(coordination: RedisCoordinationStore) -> None:
    await settle(coordination)
    reports = {
        f"engine/{n}": SlotReport(
            endpoint="engine", want=5, in_use=0, seen=PoolObservation(), endpoint_ceiling=8
        )
        for n in range(4)
    }

    grants = await coordination.slots.sync(ActivationId("a"), reports, ttl=MINUTE)

    assert [grants[pool].slots for pool in reports] == [2, 2, 2, 2]


async def test_the_breaker_is_as_a_holder_saw_it_last(coordination: RedisCoordinationStore) -> None:
    report = SlotReport(endpoint="engine", want=1, in_use=0, seen=PoolObservation())
    shown = []
    for state in BreakerState:
        for holder, seen in (("a", BreakerState.CLOSED), ("b", state)):
            told = {POOL: replace(report, breaker=seen)}
            await coordination.slots.sync(ActivationId(holder), told, ttl=MINUTE)
        shown += [pool.breaker for pool in await coordination.slots.pools()]
    for holder in "ab":
        await coordination.slots.leave(ActivationId(holder), [POOL])

    assert shown == list(BreakerState)
    assert [pool.breaker for pool in await coordination.slots.pools()] == [None]


async def test_what_is_seen_between_two_folds_is_added_up(redis_url: str) -> None:
    waiting = open_own(redis_url)
    folding = another_process(waiting, redis_url, interval=NO_TIME)
    await settle(waiting)
    await sync(waiting, "a", want=8)  # the first sync of all folds
    for name in "ab":
        grant = await sync(waiting, name, want=4, in_use=4, seen=PoolObservation(successes=2))
        assert grant.limit == START

    folded = await sync(folding, "a", want=4, in_use=4, seen=PoolObservation(successes=1))
    again = await sync(folding, "a", want=4, in_use=4)

    assert folded.limit == again.limit == START + 5
    await waiting.close()
    await folding.close()


async def test_another_process_goes_on_from_the_learned_limit(redis_url: str) -> None:
    first = open_own(redis_url, interval=NO_TIME)
    await settle(first)
    await sync(first, "a", want=50)
    await sync(first, "a", want=50, in_use=8, seen=PoolObservation(successes=8))
    await first.slots.leave(ActivationId("a"), [POOL])
    second = another_process(first, redis_url, interval=HOUR)

    assert (await sync(second, "b", want=50)).slots == 16
    await first.close()
    await second.close()


async def test_an_idle_pool_is_forgotten_after_ten_half_lives(
    moving: RedisCoordinationStore,
) -> None:
    await sync(moving, "a", want=8)

    lifetimes = [
        await moving._client.pttl(f"{moving._keys.slots}:{kind}:{POOL}")
        for kind in ("limit", "holders")
    ]

    assert all(0 < lifetime <= 36_000_000 for lifetime in lifetimes)


async def test_without_a_generation_only_running_calls_are_granted(
    coordination: RedisCoordinationStore,
) -> None:
    silent = await sync(coordination, "a", want=5)
    busy = await sync(coordination, "b", want=50, in_use=5)
    too_busy = await sync(coordination, "c", want=50, in_use=9)

    assert (silent.slots, silent.generation) == (0, None)
    assert (busy.slots, busy.generation) == (5, None)
    assert (too_busy.slots, too_busy.generation) == (START - 5, None)


async def test_for_one_grace_period_after_planting_only_running_calls_are_granted(
    coordination: RedisCoordinationStore,
) -> None:
    assert await coordination.begin_rebuild("me", MINUTE)
    assert await coordination.end_rebuild("me", "g2")

    early = await sync(coordination, "a", want=8, in_use=2, ttl=HOUR)
    late = await sync(coordination, "a", want=8, in_use=2, ttl=NO_TIME)

    assert (early.slots, early.generation) == (2, "g2")
    assert late.slots == 8


async def test_calls_that_outlived_a_wipe_count_against_the_limit_afterwards(
    coordination: RedisCoordinationStore,
) -> None:
    await sync(coordination, "a", want=6, in_use=6)
    await settle(coordination)

    assert (await sync(coordination, "b", want=8)).slots == 2


async def test_concurrent_folds_are_not_lost_but_never_applied_twice(redis_url: str) -> None:
    coordination = open_own(redis_url, interval=NO_TIME, rules=LimitSettings(start=200))
    await settle(coordination)
    grown = PoolObservation(successes=1)

    await asyncio.gather(
        *(sync(coordination, f"h{n}", want=20, in_use=20, seen=grown) for n in range(10))
    )

    (pool,) = await coordination.slots.pools()
    assert 201 <= pool.limit.limit <= 210
    assert pool.limit.limit == int(pool.limit.limit)
    await coordination.close()


async def test_numbers_of_one_pool_that_cannot_be_folded_keep_the_slots_of_no_other(
    moving: RedisCoordinationStore, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    folded = slots_module.fold

    def fold(state, seen, rules, now):
        return folded(state, seen, rules, now) if seen.successes != 7 else 1 / 0

    monkeypatch.setattr(slots_module, "fold", fold)
    seen = {"odd": PoolObservation(successes=7), "good": PoolObservation(successes=1)}
    for _ in range(2):
        grants = await moving.slots.sync(
            ActivationId("a"),
            {
                name: SlotReport(endpoint=name, want=4, in_use=0, seen=seen[name], aborted=0)
                for name in seen
            },
            ttl=MINUTE,
        )

    assert [grants[name].slots for name in seen] == [4, 4]
    assert "What was learned of odd is forgotten" in caplog.text
