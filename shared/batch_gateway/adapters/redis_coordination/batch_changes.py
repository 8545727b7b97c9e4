"""Notifications of batch changes on Redis: publish and subscribe.

A subscription has a connection of its own that never reconnects by itself: what was published
meanwhile would be lost silently. The listener gets Unavailable instead, looks at the
database and listens again. A silent connection is probed, so a dead one is noticed too.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from batch_gateway.adapters.redis_coordination.server import ANSWER_TIMEOUT_S, connect, translated
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.ids import ActivationId, BatchId

_ASKED = "activation:"  # begins a message that is not a batch's id
_PATIENCE_S = 1.0  # how long one wait for a message lasts before the connection is looked at


class RedisBatchChangeNotifications:
    def __init__(self, client: "Redis", url: str, tag: str, channel: str) -> None:
        self._client = client
        self._url = url
        self._tag = tag
        self._channel = channel

    async def publish(self, batch: BatchId) -> None:
        async with translated():
            await self._client.publish(self._channel, batch)

    async def ask(self, activation: ActivationId) -> None:
        async with translated():
            await self._client.publish(self._channel, f"{_ASKED}{activation}")

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[BatchId | ActivationId]]:
        async with (
            connect(self._url, tag=self._tag, retries=0) as client,
            client.pubsub() as subscription,
        ):
            async with translated():
                await subscription.subscribe(self._channel)
                confirmed = await subscription.get_message(timeout=ANSWER_TIMEOUT_S)
            if confirmed is None:
                raise Unavailable("the coordination store does not confirm a subscription")
            yield _messages(subscription)


async def _messages(subscription: PubSub) -> AsyncIterator[BatchId | ActivationId]:
    while True:
        async with translated():
            message = await subscription.get_message(timeout=_PATIENCE_S)
        if message is None:
            continue
        if message["type"] == "message":
            said = str(message["data"])
            asked = said.removeprefix(_ASKED)
            yield BatchId(said) if asked == said else ActivationId(asked)
