"""No script of the metadata store stops its Redis server, however many rows there are."""

import asyncio
from dataclasses import replace

import pytest
from fixtures.metadata import ALICE, BOB, FAR_AHEAD, SECOND, T0, a_batch

from batch_gateway.core.dead_letters import DeadLetter
from batch_gateway.core.ids import BatchId
from batch_gateway.core.webhooks import DeliveryId, EndpointId, WebhookDelivery, WebhookEndpoint

pytestmark = pytest.mark.redis

MANY = 20_000
MOST_COMMANDS = 5000  # of one script: some milliseconds


@pytest.fixture(params=["redis_metadata", "valkey_metadata"])
async def store(request):
    store = await request.getfixturevalue(request.param)()
    yield store
    await store.close()


async def commands(store) -> tuple[int, int]:
    """How many commands the server has run, those of scripts included; how many scripts."""
    found = await store._redis.info("commandstats")
    scripts = found.get("cmdstat_evalsha", {}).get("calls", 0)
    return sum(command["calls"] for command in found.values()), scripts


class Counted:
    """What was run inside the context."""

    def __init__(self, store) -> None:
        self._store = store

    async def __aenter__(self):
        self._before = await commands(self._store)
        return self

    async def __aexit__(self, *_):
        ran, scripts = await commands(self._store)
        self.per_script = (ran - self._before[0]) / max(1, scripts - self._before[1])


def an_endpoint(tenant=ALICE) -> WebhookEndpoint:
    return WebhookEndpoint(
        id=EndpointId(f"we_{tenant}"),
        tenant=tenant,
        name="mine",
        url="https://example.com/hook",
        event_types=("batch.completed",),
        secret="sealed",
        hint="whsec_...abcd",
        created_at=T0,
        updated_at=T0,
    )


def deliveries(endpoint, numbers) -> list[WebhookDelivery]:
    return [
        WebhookDelivery(
            id=DeliveryId(f"whd_{endpoint.tenant}_{n:06}"),
            tenant=endpoint.tenant,
            endpoint=endpoint.id,
            event_type="batch.completed",
            batch=BatchId(f"batch_{n}"),
            happened_at=T0,
            created_at=T0,
            due_at=T0,
        )
        for n in numbers
    ]


async def with_deliveries(store, count) -> WebhookEndpoint:
    endpoint = an_endpoint()
    await store.webhooks.add(endpoint)
    for start in range(0, count, 500):
        await store.webhooks.enqueue(deliveries(endpoint, range(start, start + 500)))
    return endpoint


async def test_an_endpoint_with_very_many_deliveries_is_deleted_in_steps(store):
    endpoint = await with_deliveries(store, MANY)
    other = an_endpoint(BOB)
    await store.webhooks.add(other)
    await store.webhooks.enqueue(deliveries(other, range(3)))

    async with Counted(store) as counted:
        assert await store.webhooks.delete(ALICE, endpoint.id)

    assert counted.per_script < MOST_COMMANDS
    assert await store.webhooks.get(ALICE, endpoint.id) is None
    assert not await store.webhooks.delete(ALICE, endpoint.id)
    taken = await store.webhooks.take(T0, limit=10, hold=SECOND)
    assert {delivery.tenant for delivery, _ in taken} == {BOB}
    keys = [key async for key in store._redis.scan_iter("*whd_alice_*")]
    assert keys == []


async def test_an_endpoint_that_is_being_deleted_gets_no_more_deliveries(store):
    endpoint = await with_deliveries(store, 2000)

    deleting = asyncio.create_task(store.webhooks.delete(ALICE, endpoint.id))
    for n in range(10_000, 10_200):
        await store.webhooks.enqueue(deliveries(endpoint, [n]))

    assert await deleting
    assert await store.webhooks.enqueue(deliveries(endpoint, [99_999])) == 0
    assert not await store.webhooks.due(FAR_AHEAD)


async def test_deliveries_that_were_left_of_an_endpoint_keep_no_other(store):
    endpoint = await with_deliveries(store, 500)
    other = an_endpoint(BOB)
    await store.webhooks.add(other)
    await store.webhooks.enqueue([replace(d, due_at=T0 + SECOND) for d in deliveries(other, [1])])
    await store._redis.delete(f"{store._keys.webhook_endpoint(endpoint.id)}")

    taken = []
    for _ in range(6):
        taken += await store.webhooks.take(T0 + SECOND, limit=100, hold=SECOND)

    assert [delivery.tenant for delivery, _ in taken] == [BOB]


async def test_dead_letters_are_dropped_in_steps(store):
    for n in range(3000):
        await store.dead_letters.put(
            DeadLetter(
                id=f"letter{n}", attributes={}, data=b"", target="", code="", reason="", died_at=T0
            )
        )

    async with Counted(store) as counted:
        assert await store.dead_letters.keep(10) == 2990

    assert counted.per_script < MOST_COMMANDS / 5
    assert len(await store.dead_letters.list(limit=100)) == 10


async def test_the_backlog_is_counted_in_steps(store):
    for n in range(1200):
        tenant = (ALICE, BOB)[n % 2]
        await store.batches.create(a_batch(tenant=tenant, deadline=FAR_AHEAD - n * SECOND), [])

    async with Counted(store) as counted:
        backlog = await store.batches.backlog()

    assert counted.per_script < 600
    assert backlog.open_batches == {ALICE: 600, BOB: 600}
    assert backlog.first_deadline == FAR_AHEAD - 1199 * SECOND


async def test_ties_are_paged_through_in_bounded_steps(store):
    for _ in range(700):
        await store.batches.create(a_batch(deadline=FAR_AHEAD), [])
    found, after = set(), None

    async with Counted(store) as counted:
        while some := await store.batches.running(limit=50, after=after):
            assert len(some) <= 50
            found.update(batch.id for batch in some)
            after = some[-1]

    assert len(found) == 700
    assert counted.per_script < 100
