"""Attempts whose process died: killed for lack of memory, or crashed in native code.

No exception shows them, and the event is delivered again, so a batch that kills whatever
process works on it would do so until its deadline. An attempt is counted when it begins and
forgotten when it ends in any way but the death of its process.

After the first death a batch is a suspect, as are the others that the same process was at. A
suspect is worked on when nothing else is, so one that kills its process again takes no other with
it, and one that was merely beside it is done.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from batch_gateway.core.errors import Permanent, Temporary
from batch_gateway.ports.coordination import Locks, RateDecision, RateLimiter
from batch_gateway.services.exclusive_lock import exclusive_lock

logger = logging.getLogger(__name__)

#: Attempts of one batch that may end with their process; after these the batch fails.
DEATHS = 5
WITHIN = timedelta(days=1)
_ALIVE = timedelta(seconds=15)  # how long a process that has died keeps others from a suspect


class TooManyProcessDeaths(Permanent):
    """Each process that worked on it has died."""


class ProcessDeaths:
    def __init__(self, work: str, rate_limits: RateLimiter, locks: Locks) -> None:
        """``work``: what is done to batches, as a word for keys on the coordination store."""
        self._work = work
        self._rate_limits = rate_limits
        self._locks = locks
        self._turns = _Turns()

    @asynccontextmanager
    async def counted(self, batch: str) -> AsyncIterator[None]:
        """One attempt at ``batch``; it counts as a death unless the context is left.

        Raises TooManyProcessDeaths after ``DEATHS`` of them, and Busy while another process works
        on a batch that is a suspect. Nothing is counted while the coordination store is
        unavailable.
        """
        name = f"{self._work}/{batch}"
        async with self._turns.shared():
            passage = await self._begin(name)
            if passage is None or (passage.passed and passage.remaining == DEATHS - 1):
                try:
                    yield
                finally:
                    await self._end(name, passage)
                return
            await self._end(name, passage)
        async with exclusive_lock(self._locks, name, _ALIVE), self._turns.exclusive():
            passage = await self._begin(name)
            if passage is not None and not passage.passed:
                raise TooManyProcessDeaths(
                    f"{batch}: {DEATHS} processes died while they worked on it"
                )
            try:
                yield
            finally:
                await self._end(name, passage)

    async def _begin(self, name: str) -> RateDecision | None:
        try:
            return await self._rate_limits.take(name, DEATHS, WITHIN)
        except Temporary as error:
            logger.info("An attempt is not counted: %s", error, extra={"action": self._work})
            return None

    async def _end(self, name: str, begun: RateDecision | None) -> None:
        if begun is None or not begun.passed:
            return
        try:
            await self._rate_limits.give_back(name, DEATHS, WITHIN)
        except Temporary as error:
            logger.warning(
                "An attempt counts as if its process had died: %s",
                error,
                extra={"action": self._work},
            )


class _Turns:
    """Many share the process, or one has it alone; a task that waits to be alone is next."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._sharing = 0
        self._wanting = 0  # have it for themselves, or wait for that
        self._taken = False

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._wanting)
            self._sharing += 1
        try:
            yield
        finally:
            self._sharing -= 1
            await self._tell()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        self._wanting += 1
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._sharing and not self._taken)
                self._taken = True
            try:
                yield
            finally:
                self._taken = False
        finally:
            self._wanting -= 1
            await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
