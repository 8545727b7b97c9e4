"""Outbox: events that other methods wrote along with their changes."""

from collections.abc import Sequence
from datetime import datetime

from batch_gateway.adapters.redis_metadata.codec import instant, to_event
from batch_gateway.adapters.redis_metadata.scripts import Scripts
from batch_gateway.ports.metadata import Unsent


class RedisOutbox:
    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def unsent(self, *, before: datetime, limit: int) -> Sequence[Unsent]:
        found = await self._scripts.run("unsent", before=before, limit=limit)
        return [Unsent(event=to_event(body), created_at=instant(at)) for body, at in found]

    async def sent(self, event_ids: Sequence[str]) -> None:
        await self._scripts.run("sent", events=list(event_ids))
