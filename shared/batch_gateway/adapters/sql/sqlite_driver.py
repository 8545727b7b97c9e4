"""A SQLite connection for SQLAlchemy whose statements take one thread hop each.

aiosqlite runs each call of a connection in the connection's thread, and SQLAlchemy makes four calls
for a statement with rows: open a cursor, execute, fetch, close. Each call costs two thread
switches, which is more than SQLite itself needs for a look-up by key. Here opening and closing are
no calls, and the rows of a statement are fetched in the call that executes it. SQLAlchemy keeps all
rows of a statement in memory anyway, unless it streams them.

A rollback without a transaction, with which SQLAlchemy returns each connection to its pool, is no
call either.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import aiosqlite

_Description = Sequence[tuple[Any, ...]] | None


def connect(*args: Any, **options: Any) -> "SqliteConnection":
    """A connection in a daemon thread of its own; arguments as of ``sqlite3.connect``.

    For ``async_creator_fn`` of SQLAlchemy's aiosqlite dialect.
    """
    connection = SqliteConnection(lambda: sqlite3.connect(*args, **options), iter_chunk_size=64)
    connection._thread.daemon = True  # as SQLAlchemy does it: an exit waits for no connection
    return connection


class SqliteConnection(aiosqlite.Connection):
    def cursor(self) -> "SqliteCursor":  # type: ignore[override]  # one that needs no call
        return SqliteCursor(self)

    async def rollback(self) -> None:
        """Undo what was not committed; without a transaction there is nothing to do."""
        if self.in_transaction:
            await super().rollback()


class SqliteCursor:
    """The rows of the statement that was executed last. Holds nothing in SQLite."""

    def __init__(self, connection: SqliteConnection) -> None:
        self.description: _Description = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self._next = 0

    async def __aenter__(self) -> "SqliteCursor":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> "SqliteCursor":
        await self._connection._execute(self._run, sql, parameters, many=False)  # type: ignore[no-untyped-call]
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> "SqliteCursor":
        await self._connection._execute(self._run, sql, parameters, many=True)  # type: ignore[no-untyped-call]
        return self

    def _run(self, sql: str, parameters: Any, *, many: bool) -> None:
        """Runs in the connection's thread; the caller waits for it."""
        cursor = self._connection._conn.cursor()
        try:
            (cursor.executemany if many else cursor.execute)(sql, parameters)
            self.description = cursor.description
            self._rows = () if cursor.description is None else cursor.fetchall()
            self._next = 0
            self.rowcount = cursor.rowcount
            self.lastrowid = cursor.lastrowid
        finally:
            cursor.close()

    async def fetchall(self) -> Sequence[Any]:
        return self._take(len(self._rows))

    async def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        return self._take(self.arraysize if size is None else size)

    async def fetchone(self) -> Any:
        return next(iter(self._take(1)), None)

    def _take(self, most: int) -> Sequence[Any]:
        rows = self._rows[self._next : self._next + most]
        self._next += len(rows)
        return rows

    async def close(self) -> None:
        self._rows = ()
