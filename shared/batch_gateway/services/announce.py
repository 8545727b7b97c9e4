"""Telling the others: facts out of the outbox, and wake-ups.

A fact is written to the outbox in the transaction that makes it true; here it is sent, and
forgotten once the broker has it. What cannot be sent now the janitor sends later, so nothing here
raises: a caller's work is done when its transaction is.

A wake-up carries no work and is never stored: it is sent only when the register of activations
has room for one more, and a lost one is made up for by the janitor.
"""

import asyncio
import logging
import secrets
from datetime import timedelta

from batch_gateway.core.errors import BatchGatewayError, Permanent
from batch_gateway.core.events import Event, wake_up
from batch_gateway.ports.event_sink import EventSink
from batch_gateway.ports.metadata import Outbox
from batch_gateway.ports.scratch import Activations

logger = logging.getLogger(__name__)

#: How long a wake-up counts as pending: about a function's start and a broker's first retry.
PENDING = timedelta(seconds=10)


class Announcer:
    """Sends facts that are in the outbox."""

    def __init__(self, outbox: Outbox, sink: EventSink) -> None:
        self._outbox = outbox
        self._sink = sink

    async def announce(self, *events: Event) -> None:
        """Send each event and forget it in the outbox when the broker has it. Never raises."""
        sent = await asyncio.gather(*(self._send(event) for event in events))
        ids = [event.id for event, done in zip(events, sent, strict=True) if done]
        if not ids:
            return
        try:
            await self._outbox.sent(ids)
        except BatchGatewayError as error:  # it will be sent once more
            logger.warning("Outbox rows stay although sent: %s", error, extra={"action": "outbox"})

    async def _send(self, event: Event) -> bool:
        log = {"action": "announce", "event_id": event.id, "event_type": str(event.type)}
        try:
            await self._sink.send(event)
        except Permanent as error:
            logger.error("The broker refuses %s for ever: %s", event.id, error, extra=log)
            return True
        except BatchGatewayError as error:
            logger.warning("The janitor will send %s: %s", event.id, error, extra=log)
            return False
        logger.debug("Sent %s", event.id, extra=log)
        return True


class Waker:
    """Opens activations, up to the maximum."""

    def __init__(self, activations: Activations, sink: EventSink, maximum: int) -> None:
        self._activations = activations
        self._sink = sink
        self._maximum = maximum

    async def wake(self) -> bool:
        """Send one wake-up if there is room for one more activation. Never raises."""
        try:
            if not await self._activations.invite(maximum=self._maximum, ttl=PENDING):
                return False
            await self._sink.send(wake_up(secrets.token_bytes(12)))
        except BatchGatewayError as error:  # the janitor looks for backlog without activation
            logger.warning("A wake-up is lost: %s", error, extra={"action": "wake"})
            return False
        return True
