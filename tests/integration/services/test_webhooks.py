"""Webhooks from the end of a batch to its receiver, and what happens when it does not answer."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from fixtures.world import TENANT, World, chat_lines
from openai import InvalidWebhookSignatureError, OpenAI
from prometheus_client import REGISTRY

from batch_gateway.adapters.sealing import FernetSealer
from batch_gateway.adapters.webhook_http import HttpWebhooks
from batch_gateway.core.errors import Permanent
from batch_gateway.core.events import EventType
from batch_gateway.core.ids import TenantId
from batch_gateway.core.webhooks import EVENT_TYPES
from batch_gateway.services.webhooks.endpoints import EndpointService, EndpointUpdate
from batch_gateway.services.webhooks.notifier import Notifier
from batch_gateway.settings import WebhookSettings

SEALER = FernetSealer([b"new key", b"old key"])
HOUR = timedelta(hours=1)


def unwrapped(heard, secret):
    headers, body = heard
    return OpenAI(api_key="any").webhooks.unwrap(body.decode(), headers, secret=secret)


class Office:
    """Endpoints and the notifier on a world's stores."""

    def __init__(self, world: World, client: HttpWebhooks, sealer=SEALER) -> None:
        rows = world.metadata.webhooks
        self.rows = rows
        self.endpoints = EndpointService(
            webhooks=rows, client=client, sealer=sealer, clock=world.clock, most=5
        )
        self.notifier = Notifier(
            webhooks=rows,
            client=client,
            sealer=sealer,
            clock=world.clock,
            backoff=WebhookSettings().backoff,
            attempt=timedelta(seconds=2),
            budget=timedelta(seconds=30),
        )

    async def listen(self, receiver, *event_types):
        return await self.endpoints.create(TENANT, "mine", receiver.url, event_types or EVENT_TYPES)

    async def log(self, endpoint):
        page = await self.rows.deliveries(TENANT, endpoint.id, limit=50)
        return list(page.items)


@pytest.fixture
async def office(world):
    client = HttpWebhooks(timeout=timedelta(seconds=1), allow_http=True, allow_private=True)
    yield Office(world, client)
    await client.close()


def outcomes() -> dict[str, float]:
    name = "batch_gateway_webhook_attempts_total"
    return {
        outcome: REGISTRY.get_sample_value(name, {"outcome": outcome}) or 0.0
        for outcome in ("delivered", "retried", "failed")
    }


async def test_the_end_of_a_batch_is_delivered_as_openai_would(world, office, receiver):
    endpoint, secret = await office.listen(receiver)
    batch = await world.run(await world.submit(chat_lines(2)))

    assert EventType.WEBHOOK_DUE in world.sink.types()
    await office.notifier.deliver()

    event = unwrapped(receiver.heard[0], secret)
    assert (event.type, event.data.id, event.object) == ("batch.completed", batch.id, "event")
    assert event.created_at == int(batch.completed_at.timestamp())
    [delivery] = await office.log(endpoint)
    assert (delivery.state, delivery.attempts, delivery.status_code) == ("delivered", 1, 204)
    with pytest.raises(InvalidWebhookSignatureError):
        unwrapped(receiver.heard[0], "whsec_" + "QUFB" * 8)


async def test_who_does_not_want_to_hear_of_it_does_not(world, office, start_receiver):
    deaf, expired = await start_receiver(), await start_receiver()
    await office.endpoints.create(TenantId("other"), "theirs", deaf.url, EVENT_TYPES)
    await office.listen(expired, "batch.expired")

    await world.run(await world.submit(chat_lines(1)))
    await office.notifier.deliver()

    assert EventType.WEBHOOK_DUE not in world.sink.types()
    assert (deaf.heard, expired.heard) == ([], [])


async def test_a_failed_batch_is_told_of(world, office, receiver):
    _, secret = await office.listen(receiver)
    await world.run(await world.submit(b"not JSON\n"))

    await office.notifier.deliver()

    assert unwrapped(receiver.heard[0], secret).type == "batch.failed"


async def test_a_crash_after_the_end_does_not_forget_the_notice(world, office, receiver):
    await office.listen(receiver)
    batch = await world.submit(chat_lines(1))
    await world.planner.plan(batch.id)
    await world.work()
    assembler = world.assembler

    async def dies(_batch):
        raise RuntimeError("killed")

    assembler._ended.announce = dies
    with pytest.raises(RuntimeError):
        await assembler.assemble(batch.id)
    world.sink.take()

    await world.janitor.sweep()

    assert EventType.WEBHOOK_DUE in world.sink.types()
    await office.notifier.deliver()
    await world.janitor.sweep()
    await office.notifier.deliver()
    assert len(receiver.heard) == 1


async def test_a_delivery_that_fails_is_tried_again_when_its_time_has_come(
    world, office, start_receiver
):
    receiver = await start_receiver(statuses=[500, None, 204])
    endpoint, _ = await office.listen(receiver)
    await world.run(await world.submit(chat_lines(1)))
    await office.notifier.deliver()
    await office.notifier.deliver()
    assert len(receiver.heard) == 1

    world.sink.take()
    await world.janitor.sweep()
    assert EventType.WEBHOOK_DUE not in world.sink.types()
    for _ in range(2):
        world.clock.ahead += timedelta(seconds=21)
        await world.janitor.sweep()
        assert EventType.WEBHOOK_DUE in {event.type for event in world.sink.take()}
        await office.notifier.deliver()

    ids = {headers["webhook-id"] for headers, _ in receiver.heard}
    assert len(receiver.heard) == 3
    assert len(ids) == 1
    [delivery] = await office.log(endpoint)
    assert (delivery.state, delivery.attempts, delivery.error) == ("delivered", 3, None)
    found = await office.endpoints.get(TENANT, endpoint.id)
    assert found.failing_since is None


async def test_after_72_hours_it_is_given_up_and_the_endpoint_disabled(
    world, office, start_receiver
):
    receiver = await start_receiver(statuses=[503])
    endpoint, _ = await office.listen(receiver)
    before = outcomes()
    await world.run(await world.submit(chat_lines(1)))

    for _ in range(80):
        await office.notifier.deliver()
        [delivery] = await office.log(endpoint)
        if delivery.due_at is None:
            break
        world.clock.ahead = delivery.due_at - world.clock.now() + world.clock.ahead + HOUR / 3600

    assert (delivery.state, delivery.status_code) == ("failed", 503)
    assert timedelta(hours=67) < delivery.attempted_at - delivery.created_at < 72 * HOUR
    assert 20 < delivery.attempts < 40
    assert (await office.endpoints.get(TENANT, endpoint.id)).disabled_at is not None
    await world.run(await world.submit(chat_lines(1)))
    assert len(await office.log(endpoint)) == 1

    await office.endpoints.update(TENANT, endpoint.id, EndpointUpdate())
    receiver.statuses = [200]
    await world.run(await world.submit(chat_lines(1)))
    await office.notifier.deliver()
    assert [each.state for each in await office.log(endpoint)] == ["delivered", "failed"]
    counted = {name: count - before[name] for name, count in outcomes().items()}
    assert counted == {"delivered": 1, "retried": delivery.attempts - 1, "failed": 1}


async def test_a_receiver_that_is_gone_hears_no_more(world, office, start_receiver):
    receiver = await start_receiver(statuses=[410])
    endpoint, _ = await office.listen(receiver)
    await world.run(await world.submit(chat_lines(1)))

    await office.notifier.deliver()

    assert (await office.endpoints.get(TENANT, endpoint.id)).disabled_at is not None


async def test_an_endpoint_that_does_not_answer_holds_nobody_up(world, office, start_receiver):
    silent, other = await start_receiver(statuses=[None]), await start_receiver()
    endpoint, _ = await office.listen(silent)
    await office.listen(other)
    for _ in range(3):
        await world.run(await world.submit(chat_lines(1)))

    await office.notifier.deliver()

    assert (len(silent.heard), len(other.heard)) == (1, 3)
    assert {each.state for each in await office.log(endpoint)} == {"pending"}
    assert sorted(each.attempts for each in await office.log(endpoint)) == [0, 0, 1]


async def test_during_a_rotation_both_secrets_are_good_for_a_day(world, office, receiver):
    endpoint, old = await office.listen(receiver)
    _, new = await office.endpoints.rotate(TENANT, endpoint.id, keep_old=True)

    await world.run(await world.submit(chat_lines(1)))
    await office.notifier.deliver()
    unwrapped(receiver.heard[0], old)
    unwrapped(receiver.heard[0], new)

    world.clock.ahead = timedelta(hours=25)
    await world.run(await world.submit(chat_lines(1), window=timedelta(hours=60)))
    await office.notifier.deliver()
    headers, _ = receiver.heard[1]
    assert len(headers["webhook-signature"].split()) == 1


async def test_a_rotation_may_end_the_old_secret_at_once(office, world, receiver):
    endpoint, old = await office.listen(receiver)
    _, new = await office.endpoints.rotate(TENANT, endpoint.id, keep_old=False)

    await office.endpoints.test(TENANT, endpoint.id, "batch.expired")

    assert unwrapped(receiver.heard[0], new).type == "batch.expired"
    with pytest.raises(InvalidWebhookSignatureError):
        unwrapped(receiver.heard[0], old)


async def test_secrets_are_sealed_and_keys_rotate(world, office, receiver):
    _, secret = await office.listen(receiver)
    [stored] = await office.rows.subscribed(TENANT, "batch.failed")

    assert secret not in json.dumps(stored.secret)
    assert FernetSealer([b"newest key", b"new key"]).open(stored.secret) == secret
    with pytest.raises(Permanent):
        FernetSealer([b"other key"]).open(stored.secret)
    with pytest.raises(Permanent):
        FernetSealer([]).open(stored.secret)


async def test_what_no_key_opens_is_dropped_with_the_reason(world, office, receiver):
    endpoint, _ = await office.listen(receiver)
    before = await office.endpoints.get(TENANT, endpoint.id)
    lost = replace(
        before,
        secret=FernetSealer([b"lost"]).seal("whsec_"),
        updated_at=before.updated_at + timedelta(seconds=1),
    )
    assert await office.rows.save(before, lost)
    await world.run(await world.submit(chat_lines(1)))

    await office.notifier.deliver()

    [delivery] = await office.log(endpoint)
    assert delivery.state == "failed"
    assert "key that is not configured" in delivery.error


async def test_two_notifiers_at_once_deliver_once(world, office, receiver):
    await office.listen(receiver)
    for _ in range(4):
        await world.run(await world.submit(chat_lines(1)))

    await asyncio.gather(*(office.notifier.deliver() for _ in range(4)))

    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 4
    assert len(receiver.heard) == 4
