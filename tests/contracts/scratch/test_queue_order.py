"""Which shard is next."""

from collections import Counter
from datetime import datetime, timedelta

import pytest
from fixtures.scratch import (
    ALICE,
    BOB,
    HOUR,
    MINUTE,
    NO_TIME,
    PAST,
    T0,
    a_lease,
    a_ticket,
    drain,
    open_own,
)

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.core.ids import BatchId, TenantId, split_shard_id
from batch_gateway.ports.shard_queue import WaitingWork

pytestmark = pytest.mark.redis


async def test_a_batch_is_proposed_in_plan_order(coordination: RedisCoordinationStore) -> None:
    entries = [a_ticket(index=index) for index in range(12)]
    await coordination.queue.push(entries[::-1])

    assert await drain(coordination) == entries


async def test_plan_order_holds_across_the_models_of_a_batch(
    coordination: RedisCoordinationStore,
) -> None:
    entries = [a_ticket(index=index, model="zephyr" if index < 3 else "aya") for index in range(6)]
    await coordination.queue.push(entries[::-1])

    assert await drain(coordination) == entries


async def test_in_a_tenant_priority_comes_before_the_deadline(
    coordination: RedisCoordinationStore,
) -> None:
    late_but_first = a_ticket("batch_a", priority=0, deadline=T0 + 9 * HOUR)
    sooner = a_ticket("batch_b", priority=5, deadline=T0 + HOUR)
    later = a_ticket("batch_c", priority=5, deadline=T0 + 2 * HOUR)
    await coordination.queue.push([later, sooner, late_but_first])

    assert await drain(coordination) == [late_but_first, sooner, later]


@pytest.mark.parametrize("urgent_after", [None, PAST], ids=["fair", "urgent"])
async def test_all_but_the_avoided_batches_are_proposed(
    coordination: RedisCoordinationStore, urgent_after: datetime | None
) -> None:
    entries = [
        a_ticket(
            f"batch_{tenant}{model}{number}",
            tenant=TenantId(tenant),
            model=model,
            urgent_after=urgent_after,
        )
        for tenant in ("t1", "t2")
        for model in ("aya", "zephyr")
        for number in range(2)
    ]
    batches = [split_shard_id(entry.shard)[0] for entry in entries]
    for size in range(len(batches) + 1):
        avoided = batches[::-1][:size] if size % 2 else batches[:size]
        await coordination.queue.push(entries)
        found = []
        while entry := await coordination.queue.propose(
            avoid_batches=avoided, held=[TenantId("t1")]
        ):
            found.append(entry)

        assert {split_shard_id(entry.shard)[0] for entry in found} == {*batches} - {*avoided}
        for entry in found:
            await coordination.queue.release(entry, refund=1.0)


async def test_a_tenant_whose_batches_are_avoided_leaves_its_turn_to_the_next_one(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket("batch_a", index, tenant=ALICE) for index in range(2)])
    await coordination.queue.push([a_ticket("batch_b", tenant=BOB)])
    model = a_ticket("batch_a").model

    sated = await coordination.queue.propose(
        avoid_batches=[BatchId("batch_a")], avoid_fair=[model], held=[TenantId("carol")]
    )
    assert sated is not None
    assert sated.tenant == BOB
    await coordination.queue.release(sated, refund=1.0)
    none = await coordination.queue.propose(
        avoid_batches=[BatchId("batch_a")], avoid_fair=[model], held=[BOB]
    )
    assert none is None


async def test_a_later_push_moves_a_batch_whose_deadline_has_changed(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket("batch_a", deadline=T0 + HOUR)])
    await coordination.queue.push([a_ticket("batch_b", deadline=T0 + 2 * HOUR)])

    await coordination.queue.push([a_ticket("batch_b", deadline=T0)])

    assert [entry.shard for entry in await drain(coordination)] == ["batch_b.0", "batch_a.0"]


async def test_only_allowed_models_are_proposed(coordination: RedisCoordinationStore) -> None:
    llama, qwen, aya = (a_ticket(f"batch_{m}", model=m) for m in ("llama", "qwen", "aya"))
    await coordination.queue.push([llama, qwen, aya])

    assert await coordination.queue.propose(models=[]) is None
    assert await coordination.queue.propose(models=["other"]) is None
    assert await coordination.queue.propose(models=["qwen", "other"]) == qwen
    assert await coordination.queue.propose(models=["llama", "aya"], avoid=["aya"]) == llama
    assert await coordination.queue.propose(avoid=["aya"]) is None
    assert await coordination.queue.propose(avoid_fair=None) is None
    assert await coordination.queue.propose() == aya


async def test_a_saturated_model_hides_nobody_elses_work(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push(
        [
            a_ticket(f"batch_{n}", tenant=TenantId(f"t{n % 7}"), priority=0, urgent_after=PAST)
            for n in range(200)
        ]
    )
    other = a_ticket("batch_z", model="qwen", priority=9)
    await coordination.queue.push([other])

    assert await coordination.queue.propose(avoid=["llama"]) == other


async def test_a_small_job_does_not_wait_behind_a_huge_one_of_another_tenant(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket("batch_huge", n, deadline=T0) for n in range(300)])
    for _ in range(20):
        await coordination.queue.propose()
    small = a_ticket("batch_small", tenant=BOB, deadline=T0 + 24 * HOUR)
    await coordination.queue.push([small])

    assert small in [await coordination.queue.propose() for _ in range(2)]


async def test_tenants_share_by_their_weights(redis_url: str) -> None:
    coordination = open_own(redis_url, weights={ALICE: 3.0})
    for tenant, cost in ((ALICE, 100), (BOB, 50)):
        await coordination.queue.push(
            [a_ticket(f"batch_{tenant}", n, tenant=tenant, cost=cost) for n in range(200)]
        )

    served = Counter[str]()
    for _ in range(100):
        entry = await coordination.queue.propose(reserve=HOUR)
        assert entry is not None
        served[entry.tenant] += entry.cost

    assert served[ALICE] == pytest.approx(3 * served[BOB], rel=0.1)
    await coordination.close()


async def test_a_returning_tenant_neither_waits_nor_makes_up_for_its_absence(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket("batch_a", n) for n in range(100)])
    for _ in range(30):
        await coordination.queue.propose(reserve=HOUR)
    await coordination.queue.push([a_ticket("batch_b", n, tenant=BOB) for n in range(100)])

    tenants = [
        entry.tenant for _ in range(20) if (entry := await coordination.queue.propose(reserve=HOUR))
    ]

    assert Counter(tenants) == {ALICE: 10, BOB: 10}


async def test_leaving_for_a_moment_does_not_wipe_out_a_debt(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket("batch_b", n, tenant=BOB) for n in range(10)])
    await coordination.queue.push([a_ticket("batch_a", cost=500)])
    first_two = {(await coordination.queue.propose(reserve=HOUR)).tenant for _ in range(2)}  # type: ignore[union-attr]
    assert first_two == {ALICE, BOB}

    await coordination.queue.push([a_ticket("batch_c", cost=500)])

    tenants = [t.tenant for _ in range(4) if (t := await coordination.queue.propose(reserve=HOUR))]
    assert tenants == [BOB] * 4


async def test_what_was_not_served_is_given_back(coordination: RedisCoordinationStore) -> None:
    await coordination.queue.push([a_ticket("batch_a", n) for n in range(50)])
    await coordination.queue.push([a_ticket("batch_b", n, tenant=BOB) for n in range(50)])
    for _ in range(40):
        entry = await coordination.queue.propose(reserve=HOUR)
        assert entry is not None
        if entry.tenant == ALICE:
            await coordination.queue.lease(entry, a_lease(entry), MINUTE)
            await coordination.queue.release(entry, refund=0.5)

    served = Counter([t.tenant for _ in range(30) if (t := await coordination.queue.propose())])

    assert served[ALICE] == pytest.approx(served[BOB], abs=2)
    state = await coordination._client.zrange(
        f"{coordination._keys.queue}:active", 0, -1, withscores=True
    )
    assert abs(state[0][1] - state[1][1]) <= 100


async def test_a_reservation_that_runs_out_costs_its_tenant_nothing(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket("batch_a", deadline=T0)])
    await coordination.queue.push([a_ticket("batch_b", n, tenant=BOB) for n in range(9)])
    for _ in range(5):
        found = await coordination.queue.propose(models=["llama"], reserve=NO_TIME)
        assert found is not None
        assert found.tenant == ALICE


async def test_urgent_batches_come_first_by_deadline(coordination: RedisCoordinationStore) -> None:
    fair = a_ticket("batch_a", tenant=BOB, priority=0, deadline=T0)
    later = a_ticket("batch_b", deadline=T0 + 2 * HOUR, urgent_after=PAST)
    sooner = a_ticket("batch_c", priority=9, deadline=T0 + HOUR, urgent_after=PAST)
    not_yet = a_ticket("batch_d", priority=1, deadline=T0 - HOUR, urgent_after=T0)
    await coordination.queue.push([fair, later, sooner, not_yet])

    assert (await drain(coordination))[:2] == [sooner, later]


async def test_a_batch_becomes_urgent_when_its_time_comes(
    coordination: RedisCoordinationStore,
) -> None:
    entry = a_ticket("batch_b", priority=9, deadline=T0 + HOUR, urgent_after=T0)
    await coordination.queue.push([a_ticket("batch_a", priority=0), entry])
    # The server's clock cannot be moved, so the instant is.
    await coordination._client.zadd(f"{coordination._keys.queue}:soon", {"batch_b": 1})

    assert await coordination.queue.propose() == entry


async def test_a_push_takes_a_batch_out_of_the_urgent_lane_when_its_window_was_extended(
    coordination: RedisCoordinationStore,
) -> None:
    first = a_ticket("batch_a", priority=1)
    await coordination.queue.push([first, a_ticket("batch_b", urgent_after=PAST)])

    await coordination.queue.push([a_ticket("batch_b", urgent_after=T0, deadline=T0 + HOUR)])

    assert await coordination.queue.propose() == first


async def test_urgent_work_leaves_every_fourth_turn_to_the_others(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket("batch_a", n, urgent_after=PAST) for n in range(40)])
    await coordination.queue.push([a_ticket("batch_b", n, tenant=BOB) for n in range(40)])

    tenants = [
        entry.tenant for _ in range(12) if (entry := await coordination.queue.propose(reserve=HOUR))
    ]

    assert Counter(tenants) == {ALICE: 9, BOB: 3}
    assert tenants[:3] == [ALICE] * 3


async def test_the_urgent_lane_cannot_be_bought(coordination: RedisCoordinationStore) -> None:
    tenants = [TenantId(f"t{n}") for n in range(10)]
    for tenant in tenants:
        urgent_after = PAST if tenant == "t0" else None
        await coordination.queue.push(
            [
                a_ticket(f"batch_{tenant}", n, tenant=tenant, urgent_after=urgent_after)
                for n in range(200)
            ]
        )

    served = Counter(
        [t.tenant for _ in range(200) if (t := await coordination.queue.propose(reserve=HOUR))]
    )

    assert served[TenantId("t0")] <= 20 + 8  # its share, and what the urgent lane may advance
    assert min(served[tenant] for tenant in tenants[1:]) >= 18


async def test_urgent_work_that_has_had_its_advance_hides_no_urgent_work_of_others(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push(
        [a_ticket(f"batch_a{n}", deadline=T0, urgent_after=PAST) for n in range(100)]
    )
    await coordination.queue.push([a_ticket("batch_b", n, tenant=BOB) for n in range(100)])
    await coordination.queue.push([a_ticket("batch_z", 0, tenant=TenantId("carol"))])
    for _ in range(30):
        await coordination.queue.propose(reserve=HOUR)
    urgent = a_ticket(
        "batch_c", tenant=TenantId("carol"), deadline=T0 + HOUR, urgent_after=PAST, priority=9
    )
    await coordination.queue.push([urgent])

    assert urgent in [await coordination.queue.propose(reserve=HOUR) for _ in range(2)]


async def test_urgent_work_beside_a_tenant_that_nobody_serves_gets_every_turn(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push(
        [a_ticket("batch_b", n, tenant=BOB, model="dead") for n in range(9)]
    )
    entries = [a_ticket("batch_a", n, urgent_after=PAST) for n in range(20)]
    await coordination.queue.push(entries)

    found = [await coordination.queue.propose(avoid_fair=None, reserve=HOUR) for _ in range(20)]

    assert found == entries


async def test_urgent_work_alone_gets_every_turn(coordination: RedisCoordinationStore) -> None:
    entries = [
        a_ticket(f"batch_{n}", deadline=T0 + timedelta(minutes=n), urgent_after=PAST)
        for n in range(9)
    ]
    await coordination.queue.push(entries)

    assert await drain(coordination) == entries


async def test_a_push_that_says_nothing_of_urgency_leaves_it_as_it_is(
    coordination: RedisCoordinationStore,
) -> None:
    urgent = a_ticket("batch_b", deadline=T0 + HOUR)
    await coordination.queue.push([a_ticket("batch_a"), urgent])
    await coordination.queue.urge({BatchId("batch_b"): PAST})

    await coordination.queue.push([urgent])

    assert await coordination.queue.propose() == urgent


async def test_a_batch_is_urged_and_no_longer_urged(coordination: RedisCoordinationStore) -> None:
    await coordination.queue.push([a_ticket("batch_a"), a_ticket("batch_b", deadline=T0 + HOUR)])

    await coordination.queue.urge({BatchId("batch_b"): PAST, BatchId("batch_z"): PAST})
    first = await coordination.queue.propose(reserve=NO_TIME)
    await coordination.queue.urge({BatchId("batch_b"): T0})
    second = await coordination.queue.propose(reserve=NO_TIME)

    assert first is not None
    assert second is not None
    assert (first.shard, first.urgent) == ("batch_b.0", True)
    assert (second.shard, second.urgent) == ("batch_a.0", False)


async def test_who_has_fair_work_enough_still_gets_what_is_urgent(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket("batch_a", n, tenant=BOB) for n in range(9)])
    urgent = [a_ticket("batch_b", n, urgent_after=PAST) for n in range(5)]
    await coordination.queue.push([*urgent, a_ticket("batch_c", model="qwen", urgent_after=PAST)])

    found = [
        await coordination.queue.propose(avoid=["qwen"], avoid_fair=["llama"]) for _ in range(6)
    ]

    assert found == [*urgent, None]
    assert await coordination.queue.propose(avoid_fair=None, avoid_urgent=["qwen"]) is None
    assert await coordination.queue.propose(avoid_fair=["qwen"], avoid_urgent=None) is not None


async def test_who_has_a_tenants_work_enough_still_gets_that_of_others(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket("batch_a", n) for n in range(3)])
    other = a_ticket("batch_b", tenant=BOB)
    await coordination.queue.push([other, a_ticket("batch_c", tenant=BOB, model="qwen")])

    sated = {"avoid": ["qwen"], "avoid_fair": ["llama", "qwen"], "avoid_urgent": None}
    assert await coordination.queue.propose(**sated) is None
    assert await coordination.queue.propose(**sated, held=[ALICE], models=["qwen"]) is None
    assert await coordination.queue.propose(**sated, held=[ALICE]) == other
    assert await coordination.queue.propose(**sated, held=[ALICE]) is None
    assert await coordination.queue.propose(**sated, held=[ALICE, BOB]) is None
    assert await coordination.queue.propose(**sated, held=[]) is not None


async def test_what_waits_is_told_by_batch_and_model(coordination: RedisCoordinationStore) -> None:
    await coordination.queue.push(
        [
            a_ticket("batch_a", 0, cost=10),
            a_ticket("batch_a", 1, cost=20),
            a_ticket("batch_a", 2, cost=5, model="qwen"),
            a_ticket("batch_b", deadline=T0 - HOUR, cost=7, urgent_after=PAST),
            a_ticket("batch_c", deadline=T0 + HOUR, cost=8),
        ]
    )
    taken = await coordination.queue.propose(models=["qwen"], reserve=HOUR)
    assert taken is not None

    a, b, c = (BatchId(f"batch_{name}") for name in "abc")
    told = await coordination.queue.waiting(2)

    assert list(told) == [b, a]
    assert told[a] == WaitingWork(deadline=T0, urgent_after=None, cost={"llama": 30})
    assert told[b] == WaitingWork(deadline=T0 - HOUR, urgent_after=PAST, cost={"llama": 7})
    assert set(await coordination.queue.waiting(1, [c, a])) == {a, b, c}
    await coordination.queue.release(taken)
    assert (await coordination.queue.waiting(0, [a]))[a].cost == {"llama": 30, "qwen": 5}
