"""Outbox: events that wait to be sent."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.paging import rows
from batch_gateway.adapters.sql.rows import Row, to_event
from batch_gateway.adapters.sql.schema import outbox
from batch_gateway.adapters.sql.steps import write_events
from batch_gateway.core.events import Event
from batch_gateway.ports.outbox import UnsentEvent

_SENT = sa.delete(outbox).where(outbox.c.id == sa.bindparam("event"))


class SqlOutbox:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def unsent(self, *, before: datetime, limit: int) -> Sequence[UnsentEvent]:
        query = (
            sa.select(outbox)
            .where(outbox.c.created_at < before)
            .order_by(outbox.c.created_at, outbox.c.id)
        )
        return await rows(self._database, query, _to_unsent, limit)

    async def add(self, events: Sequence[Event], now: datetime) -> None:
        async with self._database.writing() as connection:
            await write_events(connection, events, now)

    async def sent(self, event_ids: Sequence[str]) -> None:
        if not event_ids:
            return
        async with self._database.writing() as connection:
            await connection.execute(_SENT, [{"event": event} for event in sorted(event_ids)])


def _to_unsent(row: Row) -> UnsentEvent:
    return UnsentEvent(event=to_event(row), created_at=row.created_at)
