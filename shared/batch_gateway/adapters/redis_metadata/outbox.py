"""Outbox: events that other methods wrote along with their changes."""

from collections.abc import Sequence
from datetime import datetime

from batch_gateway.adapters.redis_metadata.codec import from_events, to_event
from batch_gateway.adapters.redis_metadata.fields import instant
from batch_gateway.adapters.redis_metadata.scripts import Scripts
from batch_gateway.core.events import Event
from batch_gateway.ports.outbox import Unsent


class RedisOutbox:
    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def unsent(self, *, before: datetime, limit: int) -> Sequence[Unsent]:
        found = await self._scripts.run("unsent", before=before, limit=limit)
        return [Unsent(event=to_event(body), created_at=instant(at)) for body, at in found]

    async def add(self, events: Sequence[Event], now: datetime) -> None:
        await self._scripts.run("add_events", events=from_events(events), now=now)

    async def sent(self, event_ids: Sequence[str]) -> None:
        await self._scripts.run("sent", events=list(event_ids))
