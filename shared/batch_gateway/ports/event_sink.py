"""Sends events to the broker."""

from typing import Protocol

from batch_gateway.core.batch_request import ExternalEvent
from batch_gateway.core.events import Event


class EventSink(Protocol):
    async def send(self, event: Event) -> None:
        """Hand one event to the broker, within a short time-out.

        Raises Temporary when it may not have been taken (it may have been: receivers deduplicate
        by state), Permanent when the broker refuses it for ever.
        """
        ...

    async def close(self) -> None: ...


class RawEventSink(Protocol):
    async def send_raw(self, event: ExternalEvent) -> None:
        """Hand an event to the broker exactly as it is. Raises as ``EventSink.send`` does."""
        ...
