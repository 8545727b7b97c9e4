"""Claims of requests that carry an Idempotency-Key."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from batch_gateway.adapters.checked import checked
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.dialects import insert_on
from batch_gateway.adapters.sql.rows import Row, columns_of
from batch_gateway.adapters.sql.schema import claims
from batch_gateway.core.idempotency import IdempotencyClaim, StoredResponse


class SqlIdempotencyClaims:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def claim(self, wanted: IdempotencyClaim) -> IdempotencyClaim:
        row = {name: value for name, value in asdict(wanted).items() if name != "answer"}
        async with self._database.writing() as connection:
            # Locks the row that is there: it can be withdrawn neither before nor after this.
            insert = (
                insert_on(connection.dialect.name, claims)
                .values(row)
                .on_conflict_do_update(index_elements=[claims.c.id], set_={"id": claims.c.id})
                .returning(claims)
            )
            before = _to_claim((await connection.execute(insert)).one())
            if before.holder == wanted.holder:
                return before
            if before.answer is not None or before.held_until > wanted.created_at:
                return before
            change = (
                sa.update(claims)
                .where(claims.c.id == wanted.id)
                .values(
                    holder=wanted.holder,
                    held_until=wanted.held_until,
                    fingerprint=before.fingerprint or wanted.fingerprint,
                )
                .returning(claims)
            )
            return _to_claim((await connection.execute(change)).one())

    async def answer(
        self, claim: str, holder: str, fingerprint: str, answer: StoredResponse
    ) -> bool:
        return await self._change(
            claim,
            holder,
            fingerprint=fingerprint,
            status=answer.status,
            content_type=answer.content_type,
            body=answer.body,
        )

    async def release(self, claim: str, holder: str, *, now: datetime, refused: bool) -> None:
        forgotten = {"fingerprint": None} if refused else {}
        await self._change(claim, holder, held_until=now, **forgotten)

    async def withdraw(self, claim: str, holder: str) -> None:
        mine = sa.and_(claims.c.id == claim, claims.c.holder == holder, claims.c.status.is_(None))
        async with self._database.writing() as connection:
            await connection.execute(sa.delete(claims).where(mine))

    async def forget(self, before: datetime, limit: int) -> int:
        old = (
            sa.select(claims.c.id)
            .where(claims.c.created_at < before)
            .order_by(claims.c.created_at, claims.c.id)
            .limit(limit)
        )
        async with self._database.writing() as connection:
            result = await connection.execute(sa.delete(claims).where(claims.c.id.in_(old)))
            return result.rowcount

    async def _change(self, claim: str, holder: str, **values: Any) -> bool:
        change = (
            sa.update(claims)
            .where(claims.c.id == claim, claims.c.holder == holder, claims.c.status.is_(None))
            .values(values)
        )
        async with self._database.writing() as connection:
            return (await connection.execute(change)).rowcount == 1


def _to_claim(row: Row) -> IdempotencyClaim:
    """Raises CorruptRow."""
    answer = None
    if row.status is not None:
        answer = {name: row._mapping[name] for name in ("status", "content_type", "body")}
    return checked("claim", IdempotencyClaim, {**columns_of(row), "answer": answer})
