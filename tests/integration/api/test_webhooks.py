"""``/v1/webhook_endpoints`` through the official SDK."""

from datetime import UTC, datetime

import openai as sdk
import pytest
from fixtures.api import openai_client
from fixtures.metadata import a_batch
from fixtures.receivers import StartReceiver

from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import BatchStatus
from batch_gateway.core.webhooks import deliveries_of
from batch_gateway.settings import ApiSettings

ENDED = ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
HOOK = "https://8.8.8.8/hook"


async def made(openai, **changes):
    fields = {"name": "mine", "url": HOOK, "event_types": ["batch.completed"]}
    return await openai.webhooks.create(**(fields | changes))


@pytest.fixture
async def private(serve_api, tenant, start_receiver: StartReceiver):
    """A client of a server that may reach this machine, and a receiver on it."""
    with serve_api(private_webhooks=True) as server:
        async with openai_client(server, tenant) as client:
            yield client, await start_receiver()


async def test_an_endpoint_is_made_with_a_secret_that_is_shown_once(openai):
    endpoint = await made(openai, event_types=[*ENDED, "batch.failed"])

    assert endpoint.object == "webhook_endpoint"
    assert endpoint.signing_secret.startswith("whsec_")
    assert endpoint.signing_secret_hint == f"whsec_...{endpoint.signing_secret.rstrip('=')[-4:]}"
    assert endpoint.updated_at == endpoint.created_at
    assert endpoint.event_types == ENDED
    found = await openai.webhooks.retrieve(endpoint.id)
    assert found.to_dict() == {
        key: value for key, value in endpoint.to_dict().items() if key != "signing_secret"
    }


async def test_endpoints_are_listed_newest_first(openai, stranger):
    first, second, third = [await made(openai, name=str(n)) for n in range(3)]
    await made(stranger)

    assert [each.id async for each in openai.webhooks.list(limit=2)] == [
        third.id,
        second.id,
        first.id,
    ]
    page = await openai.webhooks.list(after=second.id)
    assert ([each.id for each in page.data], page.has_more) == ([first.id], False)
    with pytest.raises(sdk.BadRequestError, match="after"):
        await stranger.webhooks.list(after=second.id)


async def test_an_endpoint_is_changed_and_deleted(openai):
    endpoint = await made(openai)

    changed = await openai.webhooks.update(endpoint.id, name="other", event_types=ENDED[:2])
    assert (changed.name, changed.url, changed.event_types) == ("other", HOOK, ENDED[:2])
    assert (await openai.webhooks.update(endpoint.id)).to_dict() == changed.to_dict()
    deleted = await openai.webhooks.delete(endpoint.id)

    assert (deleted.id, deleted.deleted, deleted.object) == (
        endpoint.id,
        True,
        "webhook_endpoint.deleted",
    )
    with pytest.raises(sdk.NotFoundError):
        await openai.webhooks.retrieve(endpoint.id)


async def test_endpoints_of_others_are_not_there(openai, stranger):
    endpoint = await made(openai)

    for attempt in (
        stranger.webhooks.retrieve(endpoint.id),
        stranger.webhooks.update(endpoint.id, name="x"),
        stranger.webhooks.delete(endpoint.id),
        stranger.webhooks.rotate_secret(endpoint.id),
        stranger.webhooks.test(endpoint.id, event_type="batch.failed"),
        stranger.webhooks.retrieve("we_\x00"),
    ):
        with pytest.raises(sdk.NotFoundError):
            await attempt
    assert (await openai.webhooks.retrieve(endpoint.id)).name == "mine"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"url": "http://example.com/hook"}, "url"),
        ({"url": "https://127.0.0.1/hook"}, "url"),
        ({"url": "https://localhost/hook"}, "url"),
        ({"url": "https://169.254.169.254/latest"}, "url"),
        ({"url": "not a url"}, "url"),
        ({"url": ""}, "url"),
        ({"name": ""}, "name"),
        ({"name": "n" * 257}, "name"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["batch.created"]}, "event_types.0"),
        ({"event_types": ["response.completed"]}, "event_types.0"),
        ({"extra_body": {"secret": "mine"}}, None),
    ],
)
async def test_what_makes_no_sense_is_refused(openai, changes, param):
    with pytest.raises(sdk.BadRequestError) as refused:
        await made(openai, **changes)

    assert refused.value.param == param
    assert [each async for each in openai.webhooks.list()] == []


async def test_a_tenant_has_so_many_endpoints_and_no_more(openai):
    for _ in range(5):
        await made(openai)

    with pytest.raises(sdk.BadRequestError, match="5 webhook endpoints already"):
        await made(openai)


async def test_a_rotated_secret_is_new(openai):
    endpoint = await made(openai)

    kept = await openai.webhooks.rotate_secret(
        endpoint.id, keep_old_secret_active_for_24_hours=True
    )
    dropped = await openai.webhooks.rotate_secret(endpoint.id)

    secrets = {endpoint.signing_secret, kept.signing_secret, dropped.signing_secret}
    assert len(secrets) == 3


async def test_event_types_are_listed(openai):
    listed = await openai.webhooks.event_types.list()

    assert sorted(listed.data) == sorted(ENDED)


async def test_an_example_is_sent_and_verified_by_the_sdk(private):
    openai, receiver = private
    endpoint = await made(openai, url=receiver.url)

    tested = await openai.webhooks.test(endpoint.id, event_type="batch.expired")

    assert (tested.status_code, tested.success, tested.event_type) == (204, True, "batch.expired")
    [(headers, body)] = receiver.heard
    event = openai.webhooks.unwrap(body.decode(), headers, secret=endpoint.signing_secret)
    assert event.type == "batch.expired"
    receiver.statuses = [302]
    assert (await openai.webhooks.test(endpoint.id, event_type="batch.failed")).status_code == 302


async def test_a_test_of_what_cannot_be_reached_says_so(private):
    openai, _ = private
    endpoint = await made(openai, url="http://127.0.0.1:9/hook")

    with pytest.raises(sdk.BadRequestError, match="could not be reached") as refused:
        await openai.webhooks.test(endpoint.id, event_type="batch.failed")

    assert refused.value.code == "webhook_endpoint_unreachable"


async def test_the_log_of_deliveries_can_be_read(http, openai):
    endpoint = await made(openai)

    answer = await http.get(f"/v1/webhook_endpoints/{endpoint.id}/deliveries")

    assert answer.json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    missing = await http.get("/v1/webhook_endpoints/we_none/deliveries")
    assert missing.status_code == 404


async def test_the_log_tells_of_one_batch(http, openai, server, tenant):
    endpoint = await made(openai)
    batches = [
        a_batch(
            tenant=TenantId(tenant), status=BatchStatus.COMPLETED, completed_at=datetime.now(UTC)
        )
        for _ in range(2)
    ]
    async with server.metadata() as store:
        (row,) = (await store.webhooks.list(TenantId(tenant), limit=1)).items
        for batch in batches:
            await store.webhooks.enqueue(deliveries_of(batch, [row], datetime.now(UTC)))
    path = f"/v1/webhook_endpoints/{endpoint.id}/deliveries"

    told = (await http.get(path, params={"batch_id": batches[0].id})).json()
    nothing = (await http.get(path, params={"batch_id": "batch_none"})).json()
    refused = await http.get(path, params={"batch_id": "\x00"})

    assert [one["batch_id"] for one in told["data"]] == [batches[0].id]
    assert (nothing["data"], nothing["has_more"]) == ([], False)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "batch_id")


async def test_the_log_is_no_route_of_the_strict_mode(serve_api, tenant):
    with serve_api(ApiSettings(mode="strict")) as server:
        async with openai_client(server, tenant) as client:
            await made(client)
            with pytest.raises(sdk.NotFoundError, match="Invalid URL"):
                await client.get("/webhook_endpoints/we_x/deliveries", cast_to=object)
