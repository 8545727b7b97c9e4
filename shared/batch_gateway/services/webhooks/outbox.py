"""Notices: a batch that has ended is put down for all who want to hear of it.

That comes before the batch's work objects are swept, and whoever dies in between leaves them to the
janitor: so a batch is never forgotten without its notices. Putting down twice adds nothing. The
notifier is only woken when there is something to deliver.
"""

import secrets

from batch_gateway.core.events import deliveries_due
from batch_gateway.core.model import Batch
from batch_gateway.core.webhooks import deliveries_of
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.event_sink import EventSink
from batch_gateway.ports.webhooks import WebhookRows
from batch_gateway.services.batches.dependents import DependentBatches
from batch_gateway.services.event_publisher import log_errors


class WebhookOutbox:
    def __init__(
        self, webhooks: WebhookRows, sink: EventSink, clock: Clock, dependents: DependentBatches
    ) -> None:
        self._webhooks = webhooks
        self._dependents = dependents
        self._sink = sink
        self._clock = clock

    async def enqueue(self, batch: Batch) -> None:
        """Put down that ``batch``, which is terminal, has ended. Raises Unavailable.

        The batches that wait for it are woken.
        """
        await self._dependents.wake(batch)
        endpoints = await self._webhooks.subscribed(batch.tenant, f"batch.{batch.status}")
        deliveries = deliveries_of(batch, endpoints, self._clock.now())
        if deliveries and await self._webhooks.enqueue(deliveries):
            await self.wake()

    async def wake_if_due(self) -> None:
        """Wake the notifier if a delivery's time has come. Raises Unavailable."""
        if await self._webhooks.due(self._clock.now()):
            await self.wake()

    async def wake(self) -> None:
        """Never raises: the janitor looks for what is due."""
        async with log_errors("Webhooks wait for the janitor", "wake"):
            await self._sink.send(deliveries_due(secrets.token_bytes(12)))
