"""Outbox: events that other methods wrote with their changes."""

from collections.abc import Sequence
from datetime import datetime

from batch_gateway.adapters.corrupt_rows import decodable_page
from batch_gateway.adapters.redis_metadata.codec import from_events, to_event
from batch_gateway.adapters.redis_metadata.fields import instant
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts
from batch_gateway.core.events import Event
from batch_gateway.ports.outbox import UnsentEvent


class RedisOutbox:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._scripts = scripts

    async def unsent(self, *, before: datetime, limit: int) -> Sequence[UnsentEvent]:
        async def fetch(most: int) -> Sequence[Sequence[str | None]]:
            found: Sequence[Sequence[str | None]] = await self._scripts.run(
                "unsent", before=before, limit=most
            )
            return found

        return await decodable_page(fetch, _to_unsent, limit)

    async def add(self, events: Sequence[Event], now: datetime) -> None:
        await self._scripts.run("add_events", events=from_events(events), now=now)

    async def sent(self, event_ids: Sequence[str]) -> None:
        await self._scripts.run("sent", events=list(event_ids))


def _to_unsent(known: Sequence[str | None]) -> UnsentEvent:
    event, body, written_at = known
    return UnsentEvent(event=to_event(event or "", body), created_at=instant(written_at or ""))
