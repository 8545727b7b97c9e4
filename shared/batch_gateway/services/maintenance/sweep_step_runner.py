"""Runs a sweep step over many items: separately, in pages, within a time budget.

An item that fails, for whatever reason, is logged and counted, and the others continue. A janitor
tries it again later and later. When a store does not answer, nothing else can be handled either, so
the step ends after a few such errors in a row.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from batch_gateway import meters
from batch_gateway.core.errors import Temporary
from batch_gateway.ports.clock import Clock

T = TypeVar("T")

logger = logging.getLogger(__name__)

LIMIT = 200  # items that a step fetches at once
AT_ONCE = 8  # items handled side by side
_AWAY = 5  # Temporary errors in a row after which a store counts as away
_FIRST = timedelta(minutes=1)  # until an item that failed is tried again; then twice as long
_LONGEST = timedelta(hours=1)
_REMEMBERED = 10_000  # items that failed


class StepFailed(Temporary):
    """Some items of a step could not be handled."""


class SweepStepRunner:
    """Handles the items of all steps of one janitor; keeps a list of those that fail."""

    def __init__(self, clock: Clock, budget: timedelta) -> None:
        """``budget``: longest duration of one step; the next sweep handles the rest."""
        self.left = False
        """Whether a step had to leave items behind since ``begin``."""
        self._clock = clock
        self._budget = budget.total_seconds()
        self._failures: dict[tuple[str, str], tuple[datetime, timedelta]] = {}

    def begin(self) -> None:
        """A sweep begins."""
        self.left = False

    async def drain(
        self,
        step: str,
        fetch: Callable[[int], Awaitable[Sequence[T]]],
        handle: Callable[[T], Awaitable[object]],
        *,
        name: Callable[[T], str],
        page: int,
    ) -> None:
        """Handle what ``fetch`` finds until it finds nothing new, or the budget is over.

        ``fetch`` returns up to so many items, of which those that were handled may still be some.
        Raises Temporary when a store does not answer, StepFailed when items have failed.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._budget
        tried: set[str] = set()
        failed, limit = 0, page
        while True:
            found = await fetch(limit)
            new = [item for item in found if name(item) not in tried]
            tried.update(map(name, new))
            due = [item for item in new if self._is_due(step, name(item))]
            failed += await self.each(step, due, handle, name=name)
            if len(found) < limit:
                break
            limit = page + len(found) - len(new)  # those that stay must not hide the others
            if loop.time() > ends:
                self.left = True
                break
        if failed:
            raise StepFailed(f"{failed} items of {step} failed")

    async def each(
        self,
        step: str,
        items: Sequence[T],
        handle: Callable[[T], Awaitable[object]],
        *,
        name: Callable[[T], str],
    ) -> int:
        """Handle each of ``items`` on its own; how many failed. Raises Temporary as ``drain``."""
        waiting = iter(items)
        away: list[Temporary] = []
        failed = 0

        async def work() -> None:
            nonlocal failed
            for item in waiting:
                if len(away) >= _AWAY:
                    return
                try:
                    await handle(item)
                except Exception as error:  # noqa: BLE001 - the other items continue
                    failed += 1
                    self._note(step, name(item), error)
                    if isinstance(error, Temporary):
                        away.append(error)
                        continue
                else:
                    self._failures.pop((step, name(item)), None)
                away.clear()

        await asyncio.gather(*(work() for _ in range(min(AT_ONCE, len(items)))))
        if len(away) >= _AWAY:
            raise away[-1]
        return failed

    def _is_due(self, step: str, name: str) -> bool:
        failure = self._failures.get((step, name))
        return failure is None or failure[0] <= self._clock.now()

    def _note(self, step: str, name: str, error: Exception) -> None:
        """Log and count a failure. What is not Temporary is tried again later and later."""
        meters.SWEEP_ITEMS_FAILED.labels(step).inc()
        if not isinstance(error, Temporary):
            before = self._failures.pop((step, name), None)
            delay = _FIRST if before is None else min(2 * before[1], _LONGEST)
            if len(self._failures) >= _REMEMBERED:
                self._failures.pop(next(iter(self._failures)))
            self._failures[step, name] = self._clock.now() + delay, delay
        logger.error(
            "The sweep could not handle %s: %r",
            name,
            error,
            extra={"action": step, "item": name},
            exc_info=not isinstance(error, Temporary),
        )
