"""WebhookRows: endpoints, and deliveries that are taken by one at a time."""

import asyncio
from dataclasses import replace
from itertools import count

import pytest
from fixtures.metadata import ALICE, BOB, SECOND, T0, a_batch

from batch_gateway.core.errors import Conflict
from batch_gateway.core.ids import BatchId
from batch_gateway.core.model import BatchStatus
from batch_gateway.core.webhooks import (
    DeliveryId,
    DeliveryState,
    EndpointId,
    WebhookDelivery,
    WebhookEndpoint,
    deliveries_of,
)

HOLD = 60 * SECOND
_numbers = count(1)


def an_endpoint(**changes) -> WebhookEndpoint:
    number = next(_numbers)
    fields = {
        "id": EndpointId(f"we_{number:032x}"),
        "tenant": ALICE,
        "name": "mine",
        "url": "https://example.com/hook",
        "event_types": ("batch.completed", "batch.failed"),
        "secret": "sealed",
        "hint": "whsec_...abcd",
        "created_at": T0,
        "updated_at": T0,
    }
    return WebhookEndpoint(**(fields | changes))


def a_delivery(endpoint: WebhookEndpoint, **changes) -> WebhookDelivery:
    number = next(_numbers)
    fields = {
        "id": DeliveryId(f"whd_{number:032x}"),
        "tenant": endpoint.tenant,
        "endpoint": endpoint.id,
        "event_type": "batch.completed",
        "batch": BatchId(f"batch_{number}"),
        "happened_at": T0,
        "created_at": T0,
        "due_at": T0,
    }
    return WebhookDelivery(**(fields | changes))


async def added(metadata, **changes) -> WebhookEndpoint:
    endpoint = an_endpoint(**changes)
    await metadata.webhooks.add(endpoint)
    return endpoint


async def queued(metadata, endpoint, **changes) -> WebhookDelivery:
    delivery = a_delivery(endpoint, **changes)
    assert await metadata.webhooks.enqueue([delivery]) == 1
    return delivery


async def taken(metadata, now=T0, limit=10):
    found = await metadata.webhooks.take(now, limit=limit, hold=HOLD)
    return [delivery.id for delivery, _ in found]


async def test_an_endpoint_comes_back_as_it_was_written(metadata):
    endpoint = await added(
        metadata,
        name="näme",
        old_secret="old",
        old_secret_until=T0 + SECOND,
        failing_since=T0,
        disabled_at=T0 + SECOND,
    )

    assert await metadata.webhooks.get(ALICE, endpoint.id) == endpoint
    assert await metadata.webhooks.get(BOB, endpoint.id) is None
    with pytest.raises(Conflict):
        await metadata.webhooks.add(endpoint)


async def test_of_many_endpoints_at_once_no_more_are_added_than_a_tenant_may_have(metadata):
    await added(metadata, tenant=BOB)

    results = await asyncio.gather(
        *(metadata.webhooks.add(an_endpoint(), most=5) for _ in range(40))
    )

    assert sum(results) == 5
    assert len((await metadata.webhooks.list(ALICE, limit=100)).items) == 5
    assert await metadata.webhooks.add(an_endpoint(tenant=BOB), most=5)
    assert await metadata.webhooks.add(an_endpoint())


async def test_endpoints_are_listed_newest_first_in_pages(metadata):
    one, two, three = [await added(metadata, created_at=T0 + n * SECOND) for n in (0, 2, 1)]
    await added(metadata, tenant=BOB)

    first = await metadata.webhooks.list(ALICE, limit=2)
    rest = await metadata.webhooks.list(ALICE, limit=2, after=three.id)

    assert (first.items, first.more) == ([two, three], True)
    assert (rest.items, rest.more) == ([one], False)
    assert await metadata.webhooks.list(BOB, limit=2, after=three.id) is None


async def test_of_two_changes_of_the_same_row_one_is_made(metadata):
    before = await added(metadata, old_secret="old", disabled_at=T0)
    after = replace(
        before, url="https://b", old_secret=None, disabled_at=None, updated_at=T0 + SECOND
    )

    assert await metadata.webhooks.save(before, after) is True
    assert await metadata.webhooks.save(before, replace(after, name="late")) is False
    assert await metadata.webhooks.get(ALICE, before.id) == after


async def test_subscribed_are_those_that_are_not_disabled_and_want_to_hear(metadata):
    wants = await added(metadata)
    await added(metadata, disabled_at=T0)
    await added(metadata, event_types=("batch.expired",))
    await added(metadata, tenant=BOB)

    assert list(await metadata.webhooks.subscribed(ALICE, "batch.failed")) == [wants]


async def test_a_delivery_is_enqueued_once(metadata):
    endpoint = await added(metadata)
    delivery = await queued(metadata, endpoint)
    other = a_delivery(endpoint)

    assert await metadata.webhooks.enqueue([replace(delivery, attempts=3), other]) == 1
    assert await metadata.webhooks.enqueue([a_delivery(an_endpoint())]) == 0
    assert await metadata.webhooks.enqueue([]) == 0

    page = await metadata.webhooks.deliveries(ALICE, endpoint.id, limit=10)
    assert {each.id: each for each in page.items} == {delivery.id: delivery, other.id: other}


async def test_what_is_due_is_taken_by_one_longest_due_first(metadata):
    endpoint = await added(metadata)
    late = await queued(metadata, endpoint, due_at=T0)
    early = await queued(metadata, endpoint, due_at=T0 - SECOND)
    await queued(metadata, endpoint, due_at=T0 + SECOND)

    assert await metadata.webhooks.due(T0 - 2 * SECOND) is False
    assert await metadata.webhooks.due(T0) is True
    found = await metadata.webhooks.take(T0, limit=10, hold=HOLD)
    assert found == [
        (replace(early, due_at=T0 + HOLD), endpoint),
        (replace(late, due_at=T0 + HOLD), endpoint),
    ]
    assert await taken(metadata) == []
    assert set(await taken(metadata, T0 + HOLD, limit=9)) > {early.id, late.id}


async def test_of_many_takers_each_gets_others(metadata):
    endpoint = await added(metadata)
    await metadata.webhooks.enqueue([a_delivery(endpoint) for _ in range(20)])

    found = await asyncio.gather(*(taken(metadata, limit=4) for _ in range(8)))
    found.append(await taken(metadata, limit=20))

    ids = [each for some in found for each in some]
    assert len(ids) == len(set(ids)) == 20


async def test_deliveries_are_pending_until_they_are_settled_or_their_endpoint_is_gone(metadata):
    before = await metadata.webhooks.pending()
    one, other = await added(metadata), await added(metadata)
    delivery = await queued(metadata, one)
    await queued(metadata, one, due_at=T0 + 1000 * SECOND)
    await queued(metadata, other)
    assert await metadata.webhooks.pending() - before == 3

    done = replace(delivery, state=DeliveryState.DELIVERED, due_at=None)
    await metadata.webhooks.settle(done, healthy=True, now=T0)
    assert await metadata.webhooks.pending() - before == 2

    await metadata.webhooks.delete(one.tenant, one.id)
    assert await metadata.webhooks.pending() - before == 1


async def test_a_settled_delivery_is_not_taken_again(metadata):
    endpoint = await added(metadata)
    delivery = await queued(metadata, endpoint)
    done = replace(
        delivery,
        state=DeliveryState.DELIVERED,
        due_at=None,
        attempts=1,
        attempted_at=T0,
        status_code=204,
    )

    await metadata.webhooks.settle(done, healthy=True, now=T0)
    await metadata.webhooks.settle(replace(delivery, attempts=9), healthy=None, now=T0)

    assert await taken(metadata, T0 + 2 * HOLD) == []
    page = await metadata.webhooks.deliveries(ALICE, endpoint.id, limit=10)
    assert list(page.items) == [done]


async def test_a_failed_attempt_is_due_again_and_tells_of_the_endpoint(metadata):
    endpoint = await added(metadata)
    delivery = await queued(metadata, endpoint)
    again = replace(delivery, due_at=T0 + HOLD, attempts=1, attempted_at=T0, error="no answer")

    await metadata.webhooks.settle(again, healthy=False, now=T0)
    await metadata.webhooks.settle(again, healthy=False, now=T0 + SECOND)

    found = await metadata.webhooks.get(ALICE, endpoint.id)
    assert found == replace(endpoint, failing_since=T0)
    assert await taken(metadata, T0 + HOLD - SECOND) == []
    assert await taken(metadata, T0 + HOLD) == [delivery.id]
    await metadata.webhooks.settle(again, healthy=True, now=T0)
    assert await metadata.webhooks.get(ALICE, endpoint.id) == endpoint
    await metadata.webhooks.settle(again, healthy=False, now=T0, disable=True)
    found = await metadata.webhooks.get(ALICE, endpoint.id)
    assert found == replace(endpoint, failing_since=T0, disabled_at=T0)


async def test_deliveries_go_with_their_endpoint(metadata):
    endpoint, other = await added(metadata), await added(metadata)
    await queued(metadata, endpoint)
    kept = await queued(metadata, other)

    assert await metadata.webhooks.delete(BOB, endpoint.id) is False
    assert await metadata.webhooks.delete(ALICE, endpoint.id) is True
    assert await metadata.webhooks.delete(ALICE, endpoint.id) is False

    assert await metadata.webhooks.get(ALICE, endpoint.id) is None
    assert await taken(metadata) == [kept.id]
    assert (await metadata.webhooks.list(ALICE, limit=10)).items == [other]


async def test_what_an_endpoint_is_told_of_one_batch_is_found_among_all(metadata):
    endpoint, other = await added(metadata), await added(metadata)
    ended = [a_batch(status=BatchStatus.COMPLETED, completed_at=T0 + n * SECOND) for n in range(2)]
    for batch in ended:
        await metadata.webhooks.enqueue(deliveries_of(batch, [endpoint, other], T0))
    for _ in range(5):
        await queued(metadata, endpoint, created_at=T0 + SECOND)

    found = await metadata.webhooks.deliveries_of_batch(ALICE, endpoint.id, ended[0].id)

    assert list(found) == deliveries_of(ended[0], [endpoint], T0)
    assert await metadata.webhooks.deliveries_of_batch(BOB, endpoint.id, ended[0].id) == []
    unknown = BatchId("batch_unknown")
    assert await metadata.webhooks.deliveries_of_batch(ALICE, endpoint.id, unknown) == []


async def test_the_log_is_paged_and_forgotten(metadata):
    endpoint = await added(metadata)
    ages = [await queued(metadata, endpoint, created_at=T0 + n * SECOND) for n in range(3)]
    await queued(metadata, await added(metadata))

    first = await metadata.webhooks.deliveries(ALICE, endpoint.id, limit=2)
    rest = await metadata.webhooks.deliveries(ALICE, endpoint.id, limit=2, after=ages[1].id)

    assert (first.items, first.more) == ([ages[2], ages[1]], True)
    assert (rest.items, rest.more) == ([ages[0]], False)
    assert await metadata.webhooks.deliveries(BOB, endpoint.id, limit=2, after=ages[1].id) is None
    assert await metadata.webhooks.forget(T0 + 2 * SECOND, limit=9) == 3
    page = await metadata.webhooks.deliveries(ALICE, endpoint.id, limit=9)
    assert list(page.items) == [ages[2]]
    assert await taken(metadata) == [ages[2].id]


async def test_events_that_nothing_else_makes_true_are_kept_too(metadata):
    from fixtures.metadata import a_batch, an_event

    event = an_event(a_batch())

    await metadata.outbox.add([event], T0)
    await metadata.outbox.add([event], T0 + SECOND)

    [unsent] = await metadata.outbox.unsent(before=T0 + SECOND, limit=9)
    assert (unsent.event, unsent.created_at) == (event, T0)
