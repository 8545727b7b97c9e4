"""``client.webhooks``: endpoints, and payloads that the client itself verifies."""

import asyncio

import openai
import pytest
from contracts.openai_python.conftest import watched
from fixtures.api import headers_of
from openai import InvalidWebhookSignatureError

EVENTS = ["batch.completed", "batch.failed"]
HOOK = "https://8.8.8.8/hook"


def create(client, **changes):
    return client.webhooks.create(**{"name": "n", "url": HOOK, "event_types": EVENTS} | changes)


def test_an_endpoint_shows_its_secret_once(client):
    endpoint = create(client)

    assert endpoint.signing_secret.startswith("whsec_")
    assert not hasattr(client.webhooks.retrieve(endpoint.id), "signing_secret")
    assert (endpoint.name, endpoint.url, endpoint.event_types) == ("n", HOOK, EVENTS)


def test_endpoints_are_listed_changed_and_deleted(client):
    first, second = create(client), create(client, name="second")

    changed = client.webhooks.update(first.id, event_types=EVENTS[:1])
    listed = [endpoint.id for endpoint in client.webhooks.list(limit=1)]
    client.webhooks.delete(second.id)

    assert changed.event_types == EVENTS[:1]
    assert listed == [second.id, first.id]
    assert [endpoint.id for endpoint in client.webhooks.list()] == [first.id]
    with pytest.raises(openai.NotFoundError):
        client.webhooks.retrieve(second.id)


def test_the_four_ends_of_a_batch_can_be_heard_of(client):
    listed = client.webhooks.event_types.list()

    assert {"batch.completed", "batch.failed", "batch.expired", "batch.cancelled"} <= {*listed.data}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"url": "http://example.com"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"event_types": []}, "event_types"),
        ({"name": ""}, "name"),
    ],
    ids=["no-tls", "private", "no-events", "no-name"],
)
def test_an_endpoint_of_nonsense_is_refused(client, changes, param):
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, **changes)

    assert refused.value.param == param


async def test_check_70_what_is_sent_is_verified_by_the_client_also_during_a_rotation(
    serve, mode, tenant, start_receiver
):
    options = {"extended": mode == "extended", "default_headers": headers_of(tenant)}
    receiver = await start_receiver()
    with (
        serve(private_webhooks=True) as server,
        watched(f"{server.url}/v1", **options) as client,
    ):
        endpoint = create(client, url=receiver.url)

        async def send():
            test = client.webhooks.test
            await asyncio.to_thread(test, endpoint.id, event_type="batch.completed")

        await send()
        rotated = client.webhooks.rotate_secret(
            endpoint.id, keep_old_secret_active_for_24_hours=True
        )
        await send()
        last = client.webhooks.rotate_secret(endpoint.id)
        await send()

        def verified(number, secret):
            headers, body = receiver.heard[number]
            return client.webhooks.unwrap(body.decode(), headers, secret=secret)

        old, new = endpoint.signing_secret, rotated.signing_secret
        events = [verified(0, old), verified(1, old), verified(1, new)]
        events.append(verified(2, last.signing_secret))
        for number, stale in ((0, new), (2, old), (2, new)):
            with pytest.raises(InvalidWebhookSignatureError):
                verified(number, stale)

    assert {event.type for event in events} == {"batch.completed"}
    assert all(event.id.startswith("evt_") for event in events)
    assert all(event.data.id.startswith("batch_") for event in events)
