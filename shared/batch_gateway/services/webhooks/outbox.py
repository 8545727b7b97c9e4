"""Stores a delivery for each webhook endpoint that subscribes to the end of a batch.

This happens before the work objects of the batch are deleted. After a crash in between the janitor
does both, so no delivery is lost. Storing them twice adds nothing. The notifier is woken only when
there is a delivery.
"""

import secrets
from collections.abc import Sequence

from batch_gateway.core.events import deliveries_due
from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import Batch
from batch_gateway.core.webhooks import WebhookDelivery, WebhookEndpoint, deliveries_of
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

    async def enqueue(self, *batches: Batch) -> None:
        """Store the deliveries of ``batches``, which are terminal. Raises Unavailable.

        The batches that wait for them are woken.
        """
        await self._dependents.wake(*batches)
        now = self._clock.now()
        heard: dict[tuple[TenantId, str], Sequence[WebhookEndpoint]] = {}
        deliveries: list[WebhookDelivery] = []
        for batch in batches:
            event = f"batch.{batch.status}"
            if (batch.tenant, event) not in heard:
                heard[batch.tenant, event] = await self._webhooks.subscribed(batch.tenant, event)
            deliveries += deliveries_of(batch, heard[batch.tenant, event], now)
        if deliveries and await self._webhooks.enqueue(deliveries):
            await self.wake(batches[0].traceparent if len(batches) == 1 else None)

    async def wake_if_due(self) -> None:
        """Wake the notifier if a delivery's time has come. Raises Unavailable."""
        if await self._webhooks.due(self._clock.now()):
            await self.wake()

    async def wake(self, traceparent: str | None = None) -> None:
        """Never raises: the janitor wakes the notifier for deliveries that stay due."""
        async with log_errors("The notifier is not woken, the janitor will retry", "wake"):
            await self._sink.send(deliveries_due(secrets.token_bytes(12), traceparent=traceparent))
