"""Outbox: events that were written with a change, until the broker has accepted them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from batch_gateway.core.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsentEvent:
    event: Event
    created_at: datetime


class EventOutbox(Protocol):
    async def unsent(self, *, before: datetime, limit: int) -> Sequence[UnsentEvent]:
        """Events written before ``before`` and not yet recorded as sent, oldest first."""
        ...

    async def add(self, events: Sequence[Event], now: datetime) -> None:
        """Write events that no other change makes true."""
        ...

    async def sent(self, event_ids: Sequence[str]) -> None:
        """Forget events that the broker has taken."""
        ...
