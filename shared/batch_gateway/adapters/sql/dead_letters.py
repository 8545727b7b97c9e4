"""Dead letters."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from batch_gateway.adapters.checked import checked
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.paging import rows
from batch_gateway.adapters.sql.rows import Row, columns_of
from batch_gateway.adapters.sql.schema import dead_letters
from batch_gateway.core.dead_letters import DeadLetter

_newest_first = (dead_letters.c.died_at.desc(), dead_letters.c.id.desc())


class SqlDeadLetters:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def put(self, letter: DeadLetter) -> None:
        row = {**asdict(letter), "attributes": dict(letter.attributes)}
        async with self._database.writing() as connection:
            await connection.execute(_delete(letter.id))
            await connection.execute(sa.insert(dead_letters).values(row))

    async def get(self, letter: str) -> DeadLetter | None:
        query = sa.select(dead_letters).where(dead_letters.c.id == letter)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _to_letter(row)

    async def list(self, *, limit: int) -> Sequence[DeadLetter]:
        query = sa.select(dead_letters).order_by(*_newest_first)
        return await rows(self._database, query, _to_letter, limit)

    async def drop(self, letter: str) -> bool:
        async with self._database.writing() as connection:
            return (await connection.execute(_delete(letter))).rowcount == 1

    async def forget(self, before: datetime, limit: int) -> int:
        old = (
            sa.select(dead_letters.c.id)
            .where(dead_letters.c.died_at < before)
            .order_by(dead_letters.c.died_at, dead_letters.c.id)
            .limit(limit)
        )
        return await self._delete_those(old)

    async def keep(self, most: int) -> int:
        kept = sa.select(dead_letters.c.id).order_by(*_newest_first).limit(most)
        beyond = sa.select(dead_letters.c.id).where(dead_letters.c.id.not_in(kept))
        return await self._delete_those(beyond)

    async def _delete_those(self, ids: sa.Select[tuple[str]]) -> int:
        async with self._database.writing() as connection:
            change = sa.delete(dead_letters).where(dead_letters.c.id.in_(ids))
            return (await connection.execute(change)).rowcount


def _delete(letter: str) -> sa.Delete:
    return sa.delete(dead_letters).where(dead_letters.c.id == letter)


def _to_letter(row: Row) -> DeadLetter:
    """Raises CorruptRow."""
    return checked("dead letter", DeadLetter, columns_of(row))
