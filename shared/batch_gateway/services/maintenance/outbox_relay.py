"""Outbox relay: sends events again that the broker did not accept, and triggers the janitor.

The janitor sends what the broker did not take, and announces again what was not processed. It is
not started with the first work: most batches end before they need it, and its start would only
delay them. So each process that has published events checks a few times
afterwards, while it runs anyway: it sends what is still in the outbox, and triggers the janitor
when a batch has made no progress since, or has ended and was not cleared up. It checks so after its
own start too: a process before it may have been killed when it had answered a client and not sent
the event yet. If all these processes are killed and none is started, the timer starts the janitor.
"""

import asyncio
from datetime import datetime, timedelta

from batch_gateway.core.model import OPEN
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.event_publisher import EventPublisher, JanitorTrigger, log_errors

_LIMIT = 100
_ROUNDS = 4


class OutboxRelay:
    def __init__(
        self,
        metadata: MetadataStore,
        publisher: EventPublisher,
        janitor_trigger: JanitorTrigger,
        clock: Clock,
        *,
        patience: timedelta,
    ) -> None:
        """``patience``: what is in the outbox for longer was not taken by the broker."""
        self._metadata = metadata
        self._publisher = publisher
        self._janitor_trigger = janitor_trigger
        self._clock = clock
        self._patience = patience

    async def run(self) -> None:
        """Look after what is announced, until cancelled. Never raises."""
        self._publisher.published.set()  # perhaps by a process that has died
        while True:
            await self._publisher.published.wait()
            self._publisher.published.clear()
            for _ in range(_ROUNDS):
                await asyncio.sleep(self._patience.total_seconds())
                async with log_errors("The outbox is not checked", "courier"):
                    await self._look()

    async def _look(self) -> None:
        now = self._clock.now()
        unsent = await self._metadata.outbox.unsent(before=now - self._patience, limit=_LIMIT)
        await self._publisher.publish(*(row.event for row in unsent))
        if await self._left_behind(now - self._patience):
            await self._janitor_trigger.call()

    async def _left_behind(self, before: datetime) -> bool:
        """Whether a batch has been in its state since ``before`` and needs looking after."""
        batches = self._metadata.batches
        if await batches.unfinished(OPEN, before=before, limit=1):
            return True
        return any(batch.status_since < before for batch in await batches.ended(limit=1))
