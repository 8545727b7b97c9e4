"""Publishes a progress event for each 10 % of a batch.

Looked for where results are stored, every two seconds at most for each batch. No row records what
was told: a step's event has an id of its own, and a key in the coordination store keeps others from
telling it too. A batch that is faster than that skips steps.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from batch_gateway.core.ids import BatchId
from batch_gateway.core.lifecycle import progress_event, step_reached
from batch_gateway.core.model import Batch, BatchStatus, Lease
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.services.event_publisher import EventPublisher, log_errors

logger = logging.getLogger(__name__)

_PAUSE = timedelta(seconds=2)  # between two looks at a batch
_REMEMBERED = timedelta(days=1)  # that a step was told
_KNOWN = 1000  # batches; batches without reports for long are forgotten
_DONE = 100  # percent: then it is the assembler's news


class BatchObserver(Protocol):
    """Called for a batch whenever results of it were recorded."""

    async def check(self, lease: Lease, batch: Batch) -> None: ...


class BatchObservers:
    """Several of them, one after the other."""

    def __init__(self, watches: Sequence[BatchObserver]) -> None:
        self._watches = watches

    async def check(self, lease: Lease, batch: Batch) -> None:
        for watch in self._watches:
            await watch.check(lease, batch)


@dataclass(slots=True)
class _LastCheck:
    next_at: float  # loop time
    told: int = 0  # percent


class ProgressEvents:
    def __init__(
        self,
        coordination: CoordinationStore,
        publisher: EventPublisher,
        clock: Clock,
        *,
        pause: timedelta = _PAUSE,
    ) -> None:
        """``pause``: between two looks at a batch."""
        self._coordination = coordination
        self._publisher = publisher
        self._clock = clock
        self._pause_s = pause.total_seconds()
        self._looked: dict[BatchId, _LastCheck] = {}

    async def check(self, lease: Lease, batch: Batch) -> None:  # noqa: ARG002 - as all watches
        """Tell of the step that ``batch`` has reached. Never raises."""
        now = asyncio.get_running_loop().time()
        looked = self._looked.pop(batch.id, None) or _LastCheck(next_at=now)
        self._looked[batch.id] = looked  # behind all others
        if len(self._looked) > _KNOWN:
            del self._looked[next(iter(self._looked))]
        if now < looked.next_at:
            return
        looked.next_at = now + self._pause_s
        async with log_errors("Progress is not published", "milestone"):
            if not await self._look(batch, looked):
                self._looked.pop(batch.id, None)  # another may have looked meanwhile

    async def _look(self, batch: Batch, looked: _LastCheck) -> bool:
        """False when the batch will not get any further."""
        if batch.status is not BatchStatus.IN_PROGRESS:
            return False
        step = step_reached(batch.counts)
        if not looked.told < step < _DONE:
            return True
        looked.told = step
        if await self._coordination.once(f"progress/{batch.id}/{step}", _REMEMBERED):
            now = self._clock.now()
            await self._publisher.publish_or_store(progress_event(batch, step, now), now)
        return True
