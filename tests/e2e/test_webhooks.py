"""A webhook, from the end of a batch through all functions to its receiver."""

import pytest
from fixtures.gateway import chat_lines

pytestmark = pytest.mark.e2e


async def test_the_end_of_a_batch_reaches_its_receiver(start_gateway, receiver):
    gateway = await start_gateway()
    endpoint = await gateway.client.webhooks.create(
        name="mine", url=receiver.url, event_types=["batch.completed"]
    )
    batch = await gateway.ended(await gateway.submit(chat_lines(2)))

    await receiver.until_heard(1)

    headers, body = receiver.heard[0]
    event = gateway.client.webhooks.unwrap(body.decode(), headers, secret=endpoint.signing_secret)
    assert (event.type, event.data.id) == ("batch.completed", batch.id)
