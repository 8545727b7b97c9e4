"""Routes an accepted event to the streams of the matching Triggers.

Filters are evaluated once, when the event comes in. Hops are counted as Knative's brokers do: the
extension ``knativebrokerttl`` starts at 255 and loses one whenever an event that carries it comes
in again, so a loop of replies ends.
"""

from datetime import UTC, datetime
from random import Random

from batch_gateway.local.broker.config import BrokerConfig
from batch_gateway.local.broker.events import MalformedEvent, StoredEvent
from batch_gateway.local.broker.faults import BrokerFaults
from batch_gateway.local.broker.filters import Predicate, compiled
from batch_gateway.local.broker.streams import EventStreams, StreamEntry

TTL = "knativebrokerttl"
_ARRIVAL = "knativearrivaltime"
_FIRST_TTL = 255


def stream_name(broker: BrokerConfig, trigger: str) -> str:
    return f"{broker.namespace}/{broker.name}/{trigger}"


class TriggerRouter:
    """The Triggers of one broker."""

    def __init__(self, broker: BrokerConfig, streams: EventStreams, random: Random) -> None:
        self.faults = BrokerFaults()
        self._streams = streams
        self._random = random
        self._filters: list[tuple[str, Predicate]] = [
            (stream_name(broker, trigger.name), compiled(trigger.filters))
            for trigger in broker.triggers
        ]

    async def accept(self, *events: StoredEvent, replied_to: StreamEntry | None = None) -> None:
        """Put events on the streams of all Triggers that they match; on return they are on disk.

        With ``replied_to`` that entry is settled in the same transaction. Raises Malformed for an
        event that has gone round too often.
        """
        arrived = [_arrived(event) for event in events]
        copies = [
            (stream, _held(event, hold_s))
            for event in arrived
            for hold_s in self.faults.holds(event.attributes["type"], self._random)
            for stream, wants in self._filters
            if wants(event.attributes)
        ]
        if copies or replied_to is not None:
            await self._streams.append(copies, done=replied_to)


def _arrived(event: StoredEvent) -> StoredEvent:
    left = event.attributes.get(TTL)
    try:
        hops = _FIRST_TTL if left is None else int(left) - 1
    except ValueError:
        raise MalformedEvent(f"{TTL} is not a number: {left!r}") from None
    if hops <= 0:
        raise MalformedEvent("the event has passed the broker too often")
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return event.with_attributes(**{TTL: str(hops), _ARRIVAL: now})


def _held(event: StoredEvent, hold_s: float) -> StoredEvent:
    if not hold_s:
        return event
    return StoredEvent(attributes=event.attributes, data=event.data, hold_s=hold_s)
