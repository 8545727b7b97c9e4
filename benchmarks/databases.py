"""The databases that figures of scale run on, and what they and Redis cost.

SQLite is a file; PostgreSQL is the tests' own server from a wheel, without fsync: its processor
time is a real server's, its waiting for the disk is not.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fixtures.postgres import running_postgres
from redis.asyncio import Redis

from benchmarks.processes import cpu_of_tree_s, tree
from benchmarks.stage import MIB

KINDS = ("sqlite", "postgres")


@dataclass(frozen=True, kw_only=True)
class Database:
    url: str  # for ``metadata.url``
    folder: Path | None = None  # of SQLite's file
    server: int | None = None  # process id of PostgreSQL; None: there is no server

    def cpu_s(self) -> float:
        """Processor time of the server; SQLite's is its caller's."""
        return 0.0 if self.server is None else cpu_of_tree_s(self.server)


@asynccontextmanager
async def database(kind: str) -> AsyncIterator[Database]:
    """An empty database, there as long as the context is."""
    with ExitStack() as stack:
        if kind == "sqlite":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-db-")))
            yield Database(url=f"sqlite+aiosqlite:///{folder}/metadata.db", folder=folder)
            return
        try:  # the server's own helpers run event loops: not in this thread
            server = await asyncio.to_thread(stack.enter_context, running_postgres())
            name = await asyncio.to_thread(stack.enter_context, server.database())
            yield Database(url=server.url(name), server=_child_named("postgres"))
        finally:
            await asyncio.to_thread(stack.close)


def _child_named(name: str) -> int:
    """The one child of this process that runs the program ``name``."""
    for pid in tree(os.getpid())[1:]:
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            return pid
    raise LookupError(name)


@dataclass(frozen=True, kw_only=True)
class RedisCost:
    cpu_s: float
    memory_mib: float  # what it stores, without the server itself


async def redis_cost(url: str) -> RedisCost:
    """What a Redis or Valkey has taken until now, by its own word."""
    async with Redis.from_url(url) as redis:
        info = await redis.info("all")
    return RedisCost(
        cpu_s=info["used_cpu_sys"] + info["used_cpu_user"],
        memory_mib=info["used_memory"] / MIB,
    )
