"""Orders the writers of a SQLite database, across processes.

SQLite lets a writer that finds the file locked sleep and try again, longer each time up to 100 ms.
The writer that retries at the right moment is next, so some wait for a second while others overtake
them. Here writers wait for their turn before they begin: those of one process in a line, and its
first for those of other processes by locks on two files beside the database, asked for every
millisecond, and less often the longer it takes. The holder of the first lock is next and waits for
the second; it releases the first when it has both. So a process with many writers lets others in
between.

This only makes an order. That no two write at once is SQLite's own doing (BEGIN IMMEDIATE), also
for programs that do not use these files.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

_ASKED_EVERY_S = 0.001
_LATER = 0.125  # of the time that a writer has waited so far
_AT_LEAST_EVERY_S = 0.005


class WriteLock:
    def __init__(self, database: Path | None, timeout_s: float) -> None:
        """After ``timeout_s`` a writer continues without the lock, and SQLite decides.

        ``database`` None: there is no locking.
        """
        self._timeout_s = timeout_s
        self._own = asyncio.Lock()
        self._next, self._turn = (
            None if database is None else _FileLock(database.with_name(f"{database.name}-{name}"))
            for name in ("next", "turn")
        )

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        if self._next is None or self._turn is None:
            yield
            return
        async with self._own, AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._timeout_s), self._next.held():
                    await held.enter_async_context(self._turn.held())
            except (
                OSError
            ):  # no such folder, no right to write there; or the time-out, which is one
                pass
            yield

    def close(self) -> None:
        for lock in (self._next, self._turn):
            if lock is not None:
                lock.close()


class _FileLock:
    """A lock on a file, for several processes. Tasks of this process request it one at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None  # None: not opened yet

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Raises OSError when there can be no such file."""
        fd = self._opened()
        clock = asyncio.get_running_loop().time
        began = clock()
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = _LATER * (clock() - began)
                await asyncio.sleep(min(max(_ASKED_EVERY_S, waited), _AT_LEAST_EVERY_S))
        try:
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def _opened(self) -> int:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        return self._fd

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
