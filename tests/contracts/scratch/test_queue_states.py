"""What becomes of a shard: ready, reserved, leased, forgotten."""

import asyncio

import pytest
from fixtures.scratch import ALICE, HOUR, MINUTE, NO_TIME, T0, a_lease, a_ticket, drain

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.ports.shard_queue import QueueDepth

pytestmark = pytest.mark.redis


async def test_a_ticket_comes_back_as_it_was_pushed(coordination: RedisCoordinationStore) -> None:
    entry = a_ticket(
        tenant=TenantId("a:b {c} ü"),
        model='org/"llama":8b {x} 模型',
        deadline=T0.replace(microsecond=123_457),
        urgent_after=T0.replace(microsecond=1),
    )
    await coordination.queue.push([entry])

    assert await coordination.queue.propose() == entry


async def test_an_empty_queue_proposes_nothing(coordination: RedisCoordinationStore) -> None:
    assert await coordination.queue.propose() is None
    assert await coordination.queue.depth() == QueueDepth(ready=0, leased=0, reserved=0)


async def test_a_known_shard_is_not_pushed_again_in_any_state(
    coordination: RedisCoordinationStore,
) -> None:
    entries = [a_ticket(index=index) for index in range(3)]
    assert await coordination.queue.push(entries) == 3
    await coordination.queue.propose(reserve=MINUTE)
    leased = await coordination.queue.propose(reserve=MINUTE)
    assert leased is not None
    await coordination.queue.lease(leased, a_lease(leased), NO_TIME)

    assert await coordination.queue.push([*entries, *entries]) == 0
    assert await coordination.queue.depth() == QueueDepth(ready=1, leased=1, reserved=1)


async def test_concurrent_proposals_never_share_a_shard(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket(index=index) for index in range(50)])

    found = await asyncio.gather(*(coordination.queue.propose() for _ in range(80)))

    shards = [entry.shard for entry in found if entry]
    assert len(shards) == len(set(shards)) == 50


async def test_a_reservation_that_runs_out_makes_the_shard_ready_again(
    coordination: RedisCoordinationStore,
) -> None:
    entry = a_ticket()
    await coordination.queue.push([entry])
    assert await coordination.queue.propose(reserve=NO_TIME) == entry

    assert await coordination.queue.depth() == QueueDepth(ready=1, leased=0, reserved=0)
    assert await coordination.queue.propose(reserve=MINUTE) == entry
    assert await coordination.queue.propose(reserve=MINUTE) is None


async def test_a_leased_shard_is_not_proposed_and_alive(
    coordination: RedisCoordinationStore,
) -> None:
    entry = a_ticket()
    await coordination.queue.push([entry])
    await coordination.queue.propose(reserve=NO_TIME)
    await coordination.queue.lease(entry, a_lease(entry), MINUTE)

    assert await coordination.queue.propose() is None
    assert await coordination.queue.expired(10) == []
    alive = await coordination.queue.alive(
        [a_lease(entry), a_lease(entry, epoch=2), a_lease(entry, token="other")]
    )
    assert alive == [True, False, False]


async def test_leases_that_ran_out_are_listed_longest_first_until_renewed(
    coordination: RedisCoordinationStore,
) -> None:
    entries = [a_ticket(index=index) for index in range(4)]
    leases = [a_lease(entry) for entry in entries]
    for entry, lease, ttl in zip(entries, leases, (-1, -3, -2, 60), strict=True):
        await coordination.queue.lease(entry, lease, ttl * MINUTE)

    assert await coordination.queue.expired(10) == [leases[1], leases[2], leases[0]]
    assert await coordination.queue.expired(1) == [leases[1]]
    await coordination.queue.renew(leases[:2], MINUTE)
    assert await coordination.queue.expired(10) == [leases[2]]
    assert await coordination.queue.alive(leases) == [True, True, False, True]


async def test_a_lease_unknown_here_is_registered_by_its_heartbeat(
    coordination: RedisCoordinationStore,
) -> None:
    lease = a_lease(a_ticket())

    await coordination.queue.renew([lease], MINUTE)

    assert await coordination.queue.alive([lease]) == [True]
    assert await coordination.queue.push([a_ticket()]) == 0


async def test_the_heartbeat_of_an_earlier_epoch_changes_nothing(
    coordination: RedisCoordinationStore,
) -> None:
    entry = a_ticket()
    await coordination.queue.lease(entry, a_lease(entry, epoch=2), NO_TIME)

    await coordination.queue.renew([a_lease(entry, epoch=1)], MINUTE)

    assert await coordination.queue.expired(10) == [a_lease(entry, epoch=2)]


async def test_a_higher_epoch_replaces_the_lease(coordination: RedisCoordinationStore) -> None:
    entry = a_ticket()
    await coordination.queue.lease(entry, a_lease(entry, epoch=9), MINUTE)

    await coordination.queue.renew([a_lease(entry, epoch=10, token="new")], MINUTE)

    alive = await coordination.queue.alive([a_lease(entry, 9), a_lease(entry, 10, "new")])
    assert alive == [False, True]


async def test_a_replaced_holder_cannot_hide_a_shard_that_was_handed_back(
    coordination: RedisCoordinationStore,
) -> None:
    entry = a_ticket()
    await coordination.queue.lease(entry, a_lease(entry, epoch=3), MINUTE)
    await coordination.queue.release(entry)

    await coordination.queue.renew([a_lease(entry, epoch=3)], MINUTE)

    assert await coordination.queue.propose() == entry


async def test_a_lease_takes_a_shard_that_was_queued_again_out_of_the_queue(
    coordination: RedisCoordinationStore,
) -> None:
    entry = a_ticket()
    await coordination.queue.push([entry])

    await coordination.queue.lease(entry, a_lease(entry), MINUTE)

    assert await coordination.queue.depth() == QueueDepth(ready=0, leased=1, reserved=0)


async def test_released_shards_are_ready_whatever_they_were(
    coordination: RedisCoordinationStore,
) -> None:
    reserved, leased, forgotten, ready = (a_ticket(index=index) for index in range(4))
    await coordination.queue.push([reserved])
    await coordination.queue.propose(reserve=MINUTE)
    await coordination.queue.lease(leased, a_lease(leased), MINUTE)
    await coordination.queue.push([ready])

    for entry in (reserved, leased, forgotten, ready):
        await coordination.queue.release(entry, refund=1.0)

    assert await coordination.queue.depth() == QueueDepth(ready=4, leased=0, reserved=0)
    assert await drain(coordination) == [reserved, leased, forgotten, ready]


async def test_completed_shards_are_forgotten_whatever_they_were(
    coordination: RedisCoordinationStore,
) -> None:
    entries = [a_ticket(index=index) for index in range(4)]
    await coordination.queue.push(entries)
    await coordination.queue.propose(reserve=MINUTE)
    await coordination.queue.lease(entries[1], a_lease(entries[1]), MINUTE)

    await coordination.queue.complete([entry.shard for entry in entries])

    assert await coordination.queue.depth() == QueueDepth(ready=0, leased=0, reserved=0)
    assert await coordination.queue.propose() is None
    assert await coordination.queue.push(entries) == 4


async def test_withdrawing_a_batch_leaves_its_leases_and_other_batches_alone(
    coordination: RedisCoordinationStore,
) -> None:
    many = [a_ticket(index=index, model=f"model-{index % 3}") for index in range(700)]
    other = a_ticket("batch_b")
    await coordination.queue.push([*many, other])
    await coordination.queue.lease(many[0], a_lease(many[0]), MINUTE)

    assert await coordination.queue.withdraw(BatchId("batch_a")) == 699

    assert await coordination.queue.depth() == QueueDepth(ready=1, leased=1, reserved=0)
    assert await drain(coordination) == [other]


async def test_only_the_very_lease_is_discarded(coordination: RedisCoordinationStore) -> None:
    entries = [a_ticket(index=index) for index in range(3)]
    for entry in entries[:2]:
        await coordination.queue.lease(entry, a_lease(entry, epoch=2), NO_TIME)
    await coordination.queue.push([entries[2]])

    await coordination.queue.discard(
        [a_lease(entries[0], 2), a_lease(entries[1], 1), a_lease(entries[2], 1)]
    )

    assert await coordination.queue.depth() == QueueDepth(ready=1, leased=1, reserved=0)
    assert await coordination.queue.push(entries) == 1


async def test_leases_are_listed_whether_they_have_run_out_or_not(
    coordination: RedisCoordinationStore,
) -> None:
    entries = [a_ticket(index=index) for index in range(3)]
    leases = [a_lease(entry) for entry in entries]
    for entry, lease, ttl in zip(entries, leases, (5, -1, 3), strict=True):
        await coordination.queue.lease(entry, lease, ttl * MINUTE)

    assert await coordination.queue.leases(10) == [leases[1], leases[2], leases[0]]
    assert await coordination.queue.leases(1) == [leases[1]]


async def test_only_the_very_lease_is_reopened(coordination: RedisCoordinationStore) -> None:
    entry = a_ticket()
    lease = a_lease(entry, epoch=2)
    await coordination.queue.lease(entry, lease, HOUR)

    await coordination.queue.reopen(
        [a_lease(entry, epoch=1), a_lease(entry, epoch=2, token="other")]
    )
    assert await coordination.queue.alive([lease]) == [True]

    await coordination.queue.reopen([lease])
    assert await coordination.queue.depth() == QueueDepth(ready=1, leased=0, reserved=0)
    await coordination.queue.renew([lease], HOUR)  # a late heartbeat of its dead holder
    await coordination.queue.reopen([lease])
    assert await coordination.queue.depth() == QueueDepth(ready=1, leased=0, reserved=0)
    assert await coordination.queue.propose() == entry


async def test_what_ends_a_lease_leaves_a_newer_one_alone(
    coordination: RedisCoordinationStore,
) -> None:
    entry = a_ticket()
    newer = a_lease(entry, epoch=2, token="other")
    await coordination.queue.lease(entry, newer, HOUR)

    await coordination.queue.release(entry, lease=a_lease(entry, epoch=1))

    assert await coordination.queue.alive([newer]) == [True]
    assert await coordination.queue.depth() == QueueDepth(ready=0, leased=1, reserved=0)
    await coordination.queue.release(entry, lease=newer)
    assert await coordination.queue.depth() == QueueDepth(ready=1, leased=0, reserved=0)


async def test_a_queue_that_has_run_empty_keeps_no_shards_keys(
    coordination: RedisCoordinationStore,
) -> None:
    entries = [
        a_ticket(f"batch_{n}", 0, model=f"m{n % 4}", tenant=TenantId(f"t{n % 3}"))
        for n in range(20)
    ]
    await coordination.queue.push(entries)

    assert len(await drain(coordination)) == 20

    left = [key async for key in coordination._client.scan_iter(match="*:queue:*")]
    assert {key.rsplit(":", 1)[1] for key in left} <= {"state", "dormant"}


async def test_nothing_refers_to_other_deployments_on_the_server(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.queue.push([a_ticket(tenant=ALICE)])
    await coordination.activations.invite(maximum=1, ttl=HOUR)

    keys = [key async for key in coordination._client.scan_iter()]

    assert keys
    assert all(key.startswith(f"{{{coordination.prefix}}}:") for key in keys)
