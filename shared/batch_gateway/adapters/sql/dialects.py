"""Differences between SQLite and PostgreSQL.

SQLite locks the file, not rows: a writing transaction begins with BEGIN IMMEDIATE, so it waits for
its turn before it reads, and what it has read cannot change until it commits. (Begun otherwise it
would fail when another wrote in between; whose turn it is, ``turns`` says.) The write-ahead log
lets readers continue meanwhile, and ``synchronous=FULL`` puts each commit on the disk. PostgreSQL
locks the batch's row with SELECT FOR UPDATE, which SQLAlchemy leaves out for SQLite.

Reads are single statements and run without a transaction on both.
"""

import json
import sqlite3
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from batch_gateway.adapters.sql.schema import UndecodableValue, UtcTimestamp
from batch_gateway.adapters.sql.write_lock import WriteLock

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
    from sqlalchemy.dialects.sqlite import Insert as SqliteInsert

#: How long a SQLite writer waits for the others, unless the URL sets it (``?timeout=``).
SQLITE_TIMEOUT_S = 20.0

#: Each is a thread, and opening one takes longer than many look-ups.
_SQLITE_CONNECTIONS = 4

#: A server that has not answered after this is taken for gone. The longest statement, writing the
#: shards of a plan, takes a few seconds.
POSTGRES_CONNECT_TIMEOUT_S = 10.0
POSTGRES_STATEMENT_TIMEOUT_S = 60.0

#: The key of the advisory lock that one migrating process holds: the product's name in ASCII.
MIGRATION_LOCK = int.from_bytes(b"batchgw", "big")

_SQLITE_READING = "sqlite_reading"


class DatabaseNow(FunctionElement[datetime]):
    """The database's own clock, in the representation of ``UtcTimestamp``."""

    name = "database_now"
    type = UtcTimestamp()
    inherit_cache = True


@compiles(DatabaseNow, "postgresql")
def _postgres_now(*_: Any, **__: Any) -> str:
    # Not now(): that is when the transaction began, before it waited for a lock.
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


@compiles(DatabaseNow, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    # Milliseconds are what SQLite's clock has; %f is SS.SSS.
    return (
        "(CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
        " + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER) * 1000)"
    )


class UnindexedColumn(FunctionElement[Any]):
    """A column, written for SQLite in a way that keeps it from choosing that column's indexes.

    SQLite's planner guesses without statistics; PostgreSQL's has them.
    """

    inherit_cache = True


@compiles(UnindexedColumn)
def _as_it_is(element: UnindexedColumn, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(UnindexedColumn, "sqlite")
def _with_a_plus(element: UnindexedColumn, compiler: SQLCompiler, **options: Any) -> str:
    return "+" + compiler.process(element.clauses, **options)


def create_engine(url: str, pool_size: int) -> AsyncEngine:
    if sa.make_url(url).get_backend_name() == "sqlite":
        return _sqlite(url)
    return create_async_engine(
        url,
        json_deserializer=_from_json,
        isolation_level="READ COMMITTED",  # each statement reads what was committed before it
        pool_size=pool_size,
        max_overflow=0,
        pool_use_lifo=True,
        pool_pre_ping=True,
        connect_args={
            "timeout": POSTGRES_CONNECT_TIMEOUT_S,
            "command_timeout": POSTGRES_STATEMENT_TIMEOUT_S,
        },
    )


def _from_json(text: str) -> object:
    try:
        return {} if text == "{}" else [] if text == "[]" else json.loads(text)  # most are empty
    except (ValueError, TypeError, RecursionError):
        return UndecodableValue()  # one row's affair: the others of the result are read


def _sqlite(url: str) -> AsyncEngine:
    waits = {} if "timeout" in sa.make_url(url).query else {"timeout": SQLITE_TIMEOUT_S}
    from batch_gateway.adapters.sql.sqlite_driver import connect

    engine = create_async_engine(
        url,
        pool_size=_SQLITE_CONNECTIONS,
        max_overflow=0,  # one that the pool does not keep would be opened again and again
        pool_use_lifo=True,
        connect_args={**waits, "async_creator_fn": connect, "factory": _Connection},
        json_deserializer=_from_json,
    )
    sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


class _Connection(sqlite3.Connection):
    """A connection that ends its transaction when it is closed.

    A task that is cancelled between two rows leaves a statement behind that has not ended. SQLite
    keeps a closed connection with such a statement, and its lock on the database, until the
    statement is deallocated.
    """

    def close(self) -> None:
        try:
            if self.in_transaction:
                self.rollback()
        finally:
            super().close()


def writers_turns(engine: AsyncEngine) -> WriteLock:
    """How the transactions that write wait for one another before they begin."""
    if engine.dialect.name != "sqlite":
        return WriteLock(None, 0)  # rows are locked, not the file
    database, query = engine.url.database, engine.url.query
    timeout = float(str(query.get("timeout", SQLITE_TIMEOUT_S)))
    return WriteLock(Path(database) if database else None, timeout)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins no transactions by itself
    cursor = connection.cursor()
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    if not connection.get_execution_options().get(_SQLITE_READING):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def reading(engine: AsyncEngine) -> AsyncEngine:
    """The same engine, for single SELECTs without a transaction."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{_SQLITE_READING: True})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


@cache
def insert_new(dialect: str, table: sa.Table) -> sa.Insert:
    """INSERT of the rows given beside it, without those whose primary key is there already."""
    return insert_on(dialect, table).on_conflict_do_nothing()


def insert_on(dialect: str, table: sa.Table) -> "SqliteInsert | PostgresInsert":
    """An INSERT that may say what is to happen with rows that are there already."""
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def prepare_migration(connection: sa.Connection) -> None:
    """Keep other migrating processes out until the transaction ends; BEGIN did so on SQLite."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))


def full(error: sa.exc.DBAPIError) -> bool:
    """Whether a driver's error means that the disk of the database is full."""
    if getattr(error.orig, "sqlstate", None) == "53100":  # disk_full
        return True
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def unavailable(error: sa.exc.DBAPIError) -> bool:
    """Whether a driver's error means that the database cannot serve us now.

    PostgreSQL reports it by the class of its SQLSTATE, SQLite by the type of the exception (locked,
    disk full, not readable: operational; not a database file: nothing more special).
    """
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state[:2] in _POSTGRES_UNAVAILABLE or state == "55P03"  # lock not available
    return type(error.orig) in (sqlite3.OperationalError, sqlite3.DatabaseError)


_POSTGRES_UNAVAILABLE = frozenset(
    {
        "08",  # connection
        "25",  # transaction state, such as a standby that only reads
        "28",  # authorization
        "3D",  # there is no such database
        "40",  # rolled back: serialization, deadlock
        "53",  # resources: connections, disk, memory
        "57",  # intervention: shutting down, starting up, cancelled
        "58",  # I/O
    }
)
