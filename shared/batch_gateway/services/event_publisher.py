"""Publishes events from the outbox, and sends wake-ups.

A fact is written to the outbox in the transaction that makes it true; here it is sent, and
forgotten once the broker has it. What cannot be sent now the janitor sends later, so nothing here
raises: a caller's work is done when its transaction is.

A wake-up carries no work and is never stored: it is sent only when the register of activations
has room for one more, and a lost one is made up for by the janitor.

The janitor does not run while there is no work, nor for work that is done in a moment. A process
that has published events checks later whether they were delivered and processed, and triggers it if
there is something left to look after (``services.maintenance.outbox_relay``).
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from batch_gateway.core.errors import BatchGatewayError, Permanent, Temporary, Unavailable
from batch_gateway.core.events import Event, EventType, upkeep_due, wake_up
from batch_gateway.ports.coordination import Activations, CoordinationStore
from batch_gateway.ports.event_sink import EventSink
from batch_gateway.ports.outbox import EventOutbox

logger = logging.getLogger(__name__)

#: How long a wake-up counts as pending: about a function's start and a broker's first retry.
PENDING = timedelta(seconds=10)
#: Further triggers of the janitor are suppressed for this long.
_CALLED = timedelta(seconds=15)

#: Events that are sent stay in the outbox for so long, to be deleted with others.
_FORGOTTEN_AFTER_S = 0.1

_MOST_SENDING = 100  # events that are sent while nothing waits for them

#: Events that another function must act upon.
_OPEN = frozenset(
    {
        EventType.BATCH_CREATED,
        EventType.BATCH_IN_PROGRESS,
        EventType.BATCH_CANCELLING,
        EventType.BATCH_EXPIRING,
        EventType.BATCH_EXECUTED,
    }
)


@asynccontextmanager
async def log_errors(what: str, action: str) -> AsyncIterator[None]:
    """Log any error instead of raising it: for hints whose loss costs nothing but time."""
    try:
        yield
    except BatchGatewayError as error:
        logger.warning("%s: %s", what, error, extra={"action": action})
    except Exception:
        logger.exception("%s", what, extra={"action": action})


class JanitorTrigger:
    """Sends the event that starts the janitor."""

    def __init__(self, coordination: CoordinationStore, sink: EventSink) -> None:
        self._coordination = coordination
        self._sink = sink

    async def call(self, *, at_once: bool = False) -> None:
        """Trigger a run of the janitor, unless one was triggered moments ago. Never raises.

        ``at_once``: trigger it in any case.
        """
        try:
            if not await self._coordination.once("upkeep", _CALLED) and not at_once:
                return
        except Exception as error:  # noqa: BLE001 - see safely
            logger.info("The janitor may be triggered twice: %r", error, extra={"action": "call"})
        async with log_errors("The janitor is not triggered", "call"):
            await self._sink.send(upkeep_due(secrets.token_bytes(12)))


class EventPublisher:
    """Sends facts that are in the outbox."""

    def __init__(self, outbox: EventOutbox, sink: EventSink) -> None:
        self._outbox = outbox
        self._sink = sink
        self._forgotten: list[str] = []  # ids of events that are sent and still in the outbox
        self._one_at_a_time = asyncio.Lock()
        self._forgets_later = False
        self._to_forget = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self.published = asyncio.Event()
        """Set whenever an event was published that another function must act upon."""

    async def publish(self, *events: Event) -> None:
        """Send each event and forget it in the outbox when the broker has it. Never raises.

        While ``forget_later`` runs, an event may still be in the outbox on return: then it would be
        sent once more if the process were killed now.
        """
        if any(event.type in _OPEN for event in events):
            self.published.set()
        await self._send_all(events)

    async def publish_soon(self, event: Event) -> None:
        """Publish while the caller continues, so an answer does not wait for the broker.

        The event is in the outbox: if the process is killed first, the next one sends it. Before
        ``forget_later`` ends, everything has been sent. While that does not run, or while many
        events are being sent, this is as ``publish``.
        """
        if not self._forgets_later or len(self._sending) >= _MOST_SENDING:
            await self.publish(event)
            return
        task = asyncio.create_task(self.publish(event))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def deliver(self, event: Event) -> None:
        """Send an event that is in the outbox already, and forget it there.

        Raises Unavailable when the broker or the outbox does not take it.
        """
        if not await self._send(event):
            raise Unavailable(f"the broker does not take {event.id}")
        await self._outbox.sent([event.id])

    async def publish_or_store(self, event: Event, now: datetime) -> None:
        """Send an event that no transaction has written; what cannot be sent now is written then.

        Raises Unavailable when it can neither be sent nor written.
        """
        if not await self._send(event):
            await self._outbox.add([event], now)

    async def _send_all(self, events: Sequence[Event]) -> None:
        sent = await asyncio.gather(*(self._send(event) for event in events))
        ids = [event.id for event, done in zip(events, sent, strict=True) if done]
        if not ids:
            return
        await self._forget(ids)

    async def _forget(self, ids: Sequence[str]) -> None:
        """Delete events that are sent: what comes while a deletion runs goes together in the next.

        Returns when ``ids`` are deleted, unless that is done later, or when it has failed: then
        they are sent once more.
        """
        self._forgotten += ids
        if self._forgets_later:
            self._to_forget.set()
        else:
            await self._forget_all()

    async def forget_later(self) -> None:
        """Delete events that are sent, those of some time together, until cancelled.

        A request that publishes an event then does not wait for a transaction more; with
        ``publish_soon`` it does not wait for the broker either.
        """
        self._forgets_later = True
        try:
            while True:
                await self._to_forget.wait()
                await asyncio.sleep(_FORGOTTEN_AFTER_S)
                self._to_forget.clear()
                await self._forget_all()
        finally:
            self._forgets_later = False
            await asyncio.gather(*self._sending)
            await self._forget_all()

    async def _forget_all(self) -> None:
        async with self._one_at_a_time:
            together, self._forgotten = self._forgotten, []
            if together:  # else an earlier one has taken them
                async with log_errors("Sent events may be sent again", "outbox"):
                    await self._outbox.sent(together)

    async def _send(self, event: Event) -> bool:
        log = {"action": "announce", "event_id": event.id, "event_type": str(event.type)}
        try:
            await self._sink.send(event)
        except Permanent as error:
            logger.error("The broker rejects %s permanently: %s", event.id, error, extra=log)
            return True
        except Temporary as error:
            logger.warning("The janitor will send %s: %s", event.id, error, extra=log)
            return False
        except Exception:  # of an event that cannot be encoded, for example
            logger.exception("The janitor will try to send %s", event.id, extra=log)
            return False
        logger.debug("Sent %s", event.id, extra=log)
        return True


class ActivationTrigger:
    """Opens activations, up to the maximum."""

    def __init__(self, activations: Activations, sink: EventSink, maximum: int) -> None:
        self._activations = activations
        self._sink = sink
        self._maximum = maximum

    async def wake(self, *, first: bool = False, traceparent: str | None = None) -> bool:
        """Send one wake-up if there is room for one more activation. Never raises.

        ``traceparent`` is that of the batch whose work is the cause; None: there is no single one.

        ``first``: only if no activation runs and no other wake-up is pending. One that runs finds
        new work by itself, and opens further ones when it has more than it can do.
        """
        async with log_errors("A wake-up is not sent", "wake"):  # the janitor checks for backlog
            maximum = 1 if first else self._maximum
            if not await self._activations.invite(maximum=maximum, ttl=PENDING):
                return False
            await self._sink.send(wake_up(secrets.token_bytes(12), traceparent=traceparent))
            return True
        return False
