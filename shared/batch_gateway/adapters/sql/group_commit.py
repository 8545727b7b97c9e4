"""Group commit: write transactions of one process that wait for each other share one commit.

A SQLite database has one writer at a time, and each commit waits for the disk (a few milliseconds),
so a burst of small transactions would take as many disk writes. Here a transaction joins
another one of this process that is finished but not committed, behind a savepoint. The group is
committed when no further transaction waits, or after ``_LONGEST_S`` or ``_MOST`` of them, and
none of its transactions returns before that.

A transaction that fails by itself (a conflict, an error of the caller) is rolled back to its
savepoint, and the others stay. One that fails by the database (disk full, locked), or that is
cancelled in the midst of a statement, may have lost the whole group: all of it is rolled back, and
the others get Unavailable. A transaction that is cancelled while the
group is being committed may be committed all the same, as with any commit.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batch_gateway.adapters.sql.write_lock import WriteLock
from batch_gateway.core.errors import Unavailable

_MOST = 64  # transactions of a group
_LONGEST_S = 0.02  # for so long a group may keep other processes from writing, plus one transaction


class _Group:
    """One transaction of the database, shared by several of ours."""

    def __init__(self, connection: AsyncConnection, resources: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        self.connection = connection
        self.resources = resources
        self.began = loop.time()
        self.members = 0
        self.done: asyncio.Future[None] = loop.create_future()
        self.done.add_done_callback(_retrieved)  # it may be that no member is left to ask

    @property
    def full(self) -> bool:
        age = asyncio.get_running_loop().time() - self.began
        return self.members >= _MOST or age >= _LONGEST_S


class GroupCommit:
    def __init__(self, engine: AsyncEngine, turns: WriteLock) -> None:
        self._engine = engine
        self._turns = turns
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0
        self._group: _Group | None = None  # the one that is open
        self._abandoned: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed when the context has been left, rolled back by an exception.

        Raises the driver's errors, and Unavailable when another transaction has lost the group.
        """
        await self._wait()
        try:
            group = self._group or await self._open()
            try:
                if group.members == 0:
                    yield group.connection
                else:
                    async with group.connection.begin_nested():
                        yield group.connection
                group.members += 1
            except BaseException as error:
                if group.members == 0 or not _harmless(error):
                    await self._roll_back(group, error)
                raise
            finally:
                if self._group is group and (group.full or not self._waiting):
                    await self._commit(group)
        finally:
            self._one_at_a_time.release()
        await asyncio.shield(group.done)

    async def close(self) -> None:
        """Wait for the commits that are under way."""
        await asyncio.gather(*self._abandoned)

    async def _wait(self) -> None:
        """Wait until no other transaction is at work."""
        self._waiting += 1
        try:
            await self._one_at_a_time.acquire()
        except BaseException:
            if self._waiting == 1 and self._group is not None:  # it was kept open for this one
                task = asyncio.create_task(self._commit_abandoned(self._group))
                self._abandoned.add(task)
                task.add_done_callback(self._abandoned.discard)
            raise
        finally:
            self._waiting -= 1

    async def _commit_abandoned(self, group: _Group) -> None:
        """Commit a group whose next transaction gave up; its members may have given up as well."""
        async with self._one_at_a_time:
            if self._group is group:
                await self._commit(group)

    async def _open(self) -> _Group:
        async with AsyncExitStack() as resources:
            await resources.enter_async_context(self._turns.turn())
            connection = await resources.enter_async_context(self._engine.connect())
            await connection.begin()
            self._group = _Group(connection, resources.pop_all())
        return self._group

    async def _commit(self, group: _Group) -> None:
        """Commit the group and give its members the outcome."""
        self._group = None
        try:
            async with group.resources:
                try:
                    await group.connection.commit()
                except BaseException:
                    # A connection that is closed after a commit that failed is not rolled back.
                    await group.connection.rollback()
                    raise
        except BaseException as error:
            group.done.set_exception(
                error if isinstance(error, Exception) else _lost("its commit was cancelled")
            )
            if not isinstance(error, Exception):
                raise
        else:
            group.done.set_result(None)

    async def _roll_back(self, group: _Group, error: BaseException) -> None:
        """Give up the group; its members before the one that failed get the error."""
        self._group = None
        group.done.set_exception(_lost(f"another transaction failed: {error!r}"))
        async with group.resources:
            await group.connection.rollback()


def _harmless(error: BaseException) -> bool:
    """Whether what was written before in the same database transaction is surely still there."""
    if isinstance(error, sa.exc.IntegrityError):
        return True
    return isinstance(error, Exception) and not isinstance(error, sa.exc.SQLAlchemyError | OSError)


def _lost(why: str) -> Unavailable:
    return Unavailable(f"the metadata database rolled back: {why}")


def _retrieved(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()
