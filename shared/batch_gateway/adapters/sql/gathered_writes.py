"""Writes of one kind that wait for each other are made together: one statement takes all rows.

Group commit (``group_commit``) spares commits. In a burst of small transactions most of the
processor time goes into their statements, and on PostgreSQL those that change the same account wait
for each other's commit. So what arrives while a write is under way goes together into the next one.

Each item still succeeds or fails by itself: what fails together for a reason that may be one item's
(a conflict, a quota, a value that cannot be stored) is written again, one by one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from batch_gateway.core.errors import Temporary

T = TypeVar("T")
R = TypeVar("R")

_MOST = 100  # items that are written together


class WriteCoalescer(Generic[T, R]):
    def __init__(self, write: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> None:
        """``write`` writes all of its items in one transaction, or none of them; it returns what
        became of each."""
        self._write = write
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None  # None: nothing is being written

    async def add(self, item: T) -> R:
        """What became of ``item``, once that is committed; raises what writing it raises.

        A caller that is cancelled meanwhile does not know whether it was written.
        """
        written: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        if self._task is None:
            self._task = asyncio.create_task(self._write_waiting())
        return await written

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._task is not None:
            await self._task

    async def _write_waiting(self) -> None:
        try:
            while self._waiting:
                some, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._write_some([one for one in some if not one[1].done()])
        finally:
            self._task = None
            for _, written in self._waiting:  # none, unless the task was cancelled
                written.cancel()

    async def _write_some(self, some: Sequence[tuple[T, "asyncio.Future[R]"]]) -> None:
        if not some:
            return
        try:
            results = await self._write([item for item, _ in some])
        except Exception as error:  # noqa: BLE001 - the callers' own
            if len(some) > 1 and not isinstance(error, Temporary):
                await asyncio.gather(*(self._write_some([one]) for one in some))
                return
            for _, written in some:
                if not written.done():
                    written.set_exception(error)
        except BaseException:
            for _, written in some:
                written.cancel()
            raise
        else:
            for (_, written), result in zip(some, results, strict=True):
                if not written.done():
                    written.set_result(result)
