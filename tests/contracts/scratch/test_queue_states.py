"""What becomes of a shard: ready, reserved, leased, forgotten."""

import asyncio

import pytest
from fixtures.scratch import ALICE, HOUR, MINUTE, NO_TIME, T0, a_lease, a_ticket, drain

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.ports.shard_queue import QueueDepth

pytestmark = pytest.mark.redis


async def test_a_ticket_comes_back_as_it_was_pushed(scratch: RedisCoordinationStore) -> None:
    entry = a_ticket(
        tenant=TenantId("a:b {c} ü"),
        model='org/"llama":8b {x} 模型',
        deadline=T0.replace(microsecond=123_457),
        urgent_after=T0.replace(microsecond=1),
    )
    await scratch.queue.push([entry])

    assert await scratch.queue.propose() == entry


async def test_an_empty_queue_proposes_nothing(scratch: RedisCoordinationStore) -> None:
    assert await scratch.queue.propose() is None
    assert await scratch.queue.depth() == QueueDepth(ready=0, leased=0, reserved=0)


async def test_a_known_shard_is_not_pushed_again_in_any_state(
    scratch: RedisCoordinationStore,
) -> None:
    entries = [a_ticket(index=index) for index in range(3)]
    assert await scratch.queue.push(entries) == 3
    await scratch.queue.propose(reserve=MINUTE)
    leased = await scratch.queue.propose(reserve=MINUTE)
    assert leased is not None
    await scratch.queue.lease(leased, a_lease(leased), NO_TIME)

    assert await scratch.queue.push([*entries, *entries]) == 0
    assert await scratch.queue.depth() == QueueDepth(ready=1, leased=1, reserved=1)


async def test_concurrent_proposals_never_share_a_shard(scratch: RedisCoordinationStore) -> None:
    await scratch.queue.push([a_ticket(index=index) for index in range(50)])

    found = await asyncio.gather(*(scratch.queue.propose() for _ in range(80)))

    shards = [entry.shard for entry in found if entry]
    assert len(shards) == len(set(shards)) == 50


async def test_a_reservation_that_runs_out_makes_the_shard_ready_again(
    scratch: RedisCoordinationStore,
) -> None:
    entry = a_ticket()
    await scratch.queue.push([entry])
    assert await scratch.queue.propose(reserve=NO_TIME) == entry

    assert await scratch.queue.depth() == QueueDepth(ready=1, leased=0, reserved=0)
    assert await scratch.queue.propose(reserve=MINUTE) == entry
    assert await scratch.queue.propose(reserve=MINUTE) is None


async def test_a_leased_shard_is_not_proposed_and_alive(scratch: RedisCoordinationStore) -> None:
    entry = a_ticket()
    await scratch.queue.push([entry])
    await scratch.queue.propose(reserve=NO_TIME)
    await scratch.queue.lease(entry, a_lease(entry), MINUTE)

    assert await scratch.queue.propose() is None
    assert await scratch.queue.expired(10) == []
    alive = await scratch.queue.alive(
        [a_lease(entry), a_lease(entry, epoch=2), a_lease(entry, token="other")]
    )
    assert alive == [True, False, False]


async def test_leases_that_ran_out_are_listed_longest_first_until_renewed(
    scratch: RedisCoordinationStore,
) -> None:
    entries = [a_ticket(index=index) for index in range(4)]
    leases = [a_lease(entry) for entry in entries]
    for entry, lease, ttl in zip(entries, leases, (-1, -3, -2, 60), strict=True):
        await scratch.queue.lease(entry, lease, ttl * MINUTE)

    assert await scratch.queue.expired(10) == [leases[1], leases[2], leases[0]]
    assert await scratch.queue.expired(1) == [leases[1]]
    await scratch.queue.renew(leases[:2], MINUTE)
    assert await scratch.queue.expired(10) == [leases[2]]
    assert await scratch.queue.alive(leases) == [True, True, False, True]


async def test_a_lease_unknown_here_is_registered_by_its_heartbeat(
    scratch: RedisCoordinationStore,
) -> None:
    lease = a_lease(a_ticket())

    await scratch.queue.renew([lease], MINUTE)

    assert await scratch.queue.alive([lease]) == [True]
    assert await scratch.queue.push([a_ticket()]) == 0


async def test_the_heartbeat_of_an_earlier_epoch_changes_nothing(
    scratch: RedisCoordinationStore,
) -> None:
    entry = a_ticket()
    await scratch.queue.lease(entry, a_lease(entry, epoch=2), NO_TIME)

    await scratch.queue.renew([a_lease(entry, epoch=1)], MINUTE)

    assert await scratch.queue.expired(10) == [a_lease(entry, epoch=2)]


async def test_a_higher_epoch_replaces_the_lease(scratch: RedisCoordinationStore) -> None:
    entry = a_ticket()
    await scratch.queue.lease(entry, a_lease(entry, epoch=9), MINUTE)

    await scratch.queue.renew([a_lease(entry, epoch=10, token="new")], MINUTE)

    alive = await scratch.queue.alive([a_lease(entry, 9), a_lease(entry, 10, "new")])
    assert alive == [False, True]


async def test_a_replaced_holder_cannot_hide_a_shard_that_was_handed_back(
    scratch: RedisCoordinationStore,
) -> None:
    entry = a_ticket()
    await scratch.queue.lease(entry, a_lease(entry, epoch=3), MINUTE)
    await scratch.queue.release(entry)

    await scratch.queue.renew([a_lease(entry, epoch=3)], MINUTE)

    assert await scratch.queue.propose() == entry


async def test_a_lease_takes_a_shard_that_was_queued_again_out_of_the_queue(
    scratch: RedisCoordinationStore,
) -> None:
    entry = a_ticket()
    await scratch.queue.push([entry])

    await scratch.queue.lease(entry, a_lease(entry), MINUTE)

    assert await scratch.queue.depth() == QueueDepth(ready=0, leased=1, reserved=0)


async def test_released_shards_are_ready_whatever_they_were(
    scratch: RedisCoordinationStore,
) -> None:
    reserved, leased, forgotten, ready = (a_ticket(index=index) for index in range(4))
    await scratch.queue.push([reserved])
    await scratch.queue.propose(reserve=MINUTE)
    await scratch.queue.lease(leased, a_lease(leased), MINUTE)
    await scratch.queue.push([ready])

    for entry in (reserved, leased, forgotten, ready):
        await scratch.queue.release(entry, refund=1.0)

    assert await scratch.queue.depth() == QueueDepth(ready=4, leased=0, reserved=0)
    assert await drain(scratch) == [reserved, leased, forgotten, ready]


async def test_completed_shards_are_forgotten_whatever_they_were(
    scratch: RedisCoordinationStore,
) -> None:
    entries = [a_ticket(index=index) for index in range(4)]
    await scratch.queue.push(entries)
    await scratch.queue.propose(reserve=MINUTE)
    await scratch.queue.lease(entries[1], a_lease(entries[1]), MINUTE)

    await scratch.queue.complete([entry.shard for entry in entries])

    assert await scratch.queue.depth() == QueueDepth(ready=0, leased=0, reserved=0)
    assert await scratch.queue.propose() is None
    assert await scratch.queue.push(entries) == 4


async def test_withdrawing_a_batch_leaves_its_leases_and_other_batches_alone(
    scratch: RedisCoordinationStore,
) -> None:
    many = [a_ticket(index=index, model=f"model-{index % 3}") for index in range(700)]
    other = a_ticket("batch_b")
    await scratch.queue.push([*many, other])
    await scratch.queue.lease(many[0], a_lease(many[0]), MINUTE)

    assert await scratch.queue.withdraw(BatchId("batch_a")) == 699

    assert await scratch.queue.depth() == QueueDepth(ready=1, leased=1, reserved=0)
    assert await drain(scratch) == [other]


async def test_only_the_very_lease_is_discarded(scratch: RedisCoordinationStore) -> None:
    entries = [a_ticket(index=index) for index in range(3)]
    for entry in entries[:2]:
        await scratch.queue.lease(entry, a_lease(entry, epoch=2), NO_TIME)
    await scratch.queue.push([entries[2]])

    await scratch.queue.discard(
        [a_lease(entries[0], 2), a_lease(entries[1], 1), a_lease(entries[2], 1)]
    )

    assert await scratch.queue.depth() == QueueDepth(ready=1, leased=1, reserved=0)
    assert await scratch.queue.push(entries) == 1


async def test_leases_are_listed_whether_they_have_run_out_or_not(
    scratch: RedisCoordinationStore,
) -> None:
    entries = [a_ticket(index=index) for index in range(3)]
    leases = [a_lease(entry) for entry in entries]
    for entry, lease, ttl in zip(entries, leases, (5, -1, 3), strict=True):
        await scratch.queue.lease(entry, lease, ttl * MINUTE)

    assert await scratch.queue.leases(10) == [leases[1], leases[2], leases[0]]
    assert await scratch.queue.leases(1) == [leases[1]]


async def test_only_the_very_lease_is_reopened(scratch: RedisCoordinationStore) -> None:
    entry = a_ticket()
    lease = a_lease(entry, epoch=2)
    await scratch.queue.lease(entry, lease, HOUR)

    await scratch.queue.reopen([a_lease(entry, epoch=1), a_lease(entry, epoch=2, token="other")])
    assert await scratch.queue.alive([lease]) == [True]

    await scratch.queue.reopen([lease])
    assert await scratch.queue.depth() == QueueDepth(ready=1, leased=0, reserved=0)
    await scratch.queue.renew([lease], HOUR)  # a late heartbeat of its dead holder
    await scratch.queue.reopen([lease])
    assert await scratch.queue.depth() == QueueDepth(ready=1, leased=0, reserved=0)
    assert await scratch.queue.propose() == entry


async def test_what_ends_a_lease_leaves_a_newer_one_alone(scratch: RedisCoordinationStore) -> None:
    entry = a_ticket()
    newer = a_lease(entry, epoch=2, token="other")
    await scratch.queue.lease(entry, newer, HOUR)

    await scratch.queue.release(entry, lease=a_lease(entry, epoch=1))

    assert await scratch.queue.alive([newer]) == [True]
    assert await scratch.queue.depth() == QueueDepth(ready=0, leased=1, reserved=0)
    await scratch.queue.release(entry, lease=newer)
    assert await scratch.queue.depth() == QueueDepth(ready=1, leased=0, reserved=0)


async def test_a_queue_that_has_run_empty_keeps_no_shards_keys(
    scratch: RedisCoordinationStore,
) -> None:
    entries = [
        a_ticket(f"batch_{n}", 0, model=f"m{n % 4}", tenant=TenantId(f"t{n % 3}"))
        for n in range(20)
    ]
    await scratch.queue.push(entries)

    assert len(await drain(scratch)) == 20

    left = [key async for key in scratch._client.scan_iter(match="*:queue:*")]
    assert {key.rsplit(":", 1)[1] for key in left} <= {"state", "dormant"}


async def test_nothing_refers_to_other_deployments_on_the_server(
    scratch: RedisCoordinationStore,
) -> None:
    await scratch.queue.push([a_ticket(tenant=ALICE)])
    await scratch.activations.invite(maximum=1, ttl=HOUR)

    keys = [key async for key in scratch._client.scan_iter()]

    assert keys
    assert all(key.startswith(f"{{{scratch.prefix}}}:") for key in keys)
