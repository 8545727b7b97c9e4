"""Checks open batches: sends lost events again, and reports deadlines at risk.

Both steps walk over open batches in pages. One batch that cannot be judged or announced does not
keep the others.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from batch_gateway.core.deadline_risk import is_at_risk
from batch_gateway.core.errors import Temporary
from batch_gateway.core.events import Event, EventType, internal_event
from batch_gateway.core.lifecycle import at_risk_event, lifecycle_event
from batch_gateway.core.model import Batch, BatchStatus
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.batches.completion_estimates import CompletionEstimates
from batch_gateway.services.batches.dependents import DependentBatches
from batch_gateway.services.event_publisher import EventPublisher
from batch_gateway.services.maintenance.sweep_step_runner import StepFailed, SweepStepRunner

PAGE = 200  # batches that are looked at together
#: Batches whose deadlines one sweep judges: the nearest ones, and as many of the others in turn.
NEAREST = 400
IN_TURN = 1600
#: Longest time between two reminders of a batch that waits for an event.
_SELDOM = timedelta(minutes=10)
_AT_RISK_AGAIN = timedelta(hours=1)


class OpenBatchChecks:
    def __init__(
        self,
        *,
        metadata: MetadataStore,
        coordination: CoordinationStore,
        publisher: EventPublisher,
        dependents: DependentBatches,
        estimates: CompletionEstimates,
        clock: Clock,
        items: SweepStepRunner,
        stuck: timedelta,
    ) -> None:
        """``stuck``: a batch that waits longer has probably lost the event that it waits for."""
        self._metadata = metadata
        self._coordination = coordination
        self._publisher = publisher
        self._dependents = dependents
        self._estimates = estimates
        self._clock = clock
        self._items = items
        self._stuck = stuck
        self._after: Batch | None = None  # where the walk over all deadlines continues

    async def announce_stuck(self) -> None:
        """Announce batches again that wait for an event that was probably lost.

        Each is reminded of after ``stuck``, and then after ever longer times: where the events are
        not lost but wait for their turn, reminders must not multiply them.
        """
        now = self._clock.now()
        waiting = BatchStatus.VALIDATING, BatchStatus.FINALIZING, BatchStatus.CANCELLING
        failed = 0
        async for batches in self._unfinished(waiting, before=now - self._stuck):
            failed += await self._items.each(
                "announce_stuck", batches, self._remind, name=lambda batch: batch.id
            )
        _raise_if(failed, "announce_stuck")

    async def _remind(self, batch: Batch) -> None:
        if not await self._dependents.without_waiting([batch]):
            return
        pause = min(max(self._stuck, (self._clock.now() - batch.status_since) / 2), _SELDOM)
        if await self._first(f"reminded/{batch.id}", pause * 0.9):
            await self._publisher.publish(_reminder(batch))

    async def _first(self, name: str, ttl: timedelta) -> bool:
        """Whether no other did it just now. Without the coordination store: yes."""
        try:
            return await self._coordination.once(name, ttl)
        except Temporary:
            return True

    async def warn_of_deadlines(self) -> None:
        """Publish events of batches that will probably be late; again after an hour, unchanged.

        Judges the batches with the nearest deadlines, and some of the others in turn, so a sweep
        costs the same however many batches are open.
        """
        now = self._clock.now()
        running = self._metadata.batches.running
        failed = 0
        after: Batch | None = None
        for _ in range(NEAREST // PAGE):
            found = await running(limit=PAGE, after=after)
            failed += await self._warn(found, now)
            if len(found) < PAGE:
                self._after = None
                return _raise_if(failed, "warn_of_deadlines")
            after = found[-1]
        for _ in range(IN_TURN // PAGE):
            start = self._after if self._is_behind(after) else after
            found = await running(limit=PAGE, after=start)
            failed += await self._warn(found, now)
            self._after = found[-1] if len(found) == PAGE else None
            if self._after is None:
                break
        return _raise_if(failed, "warn_of_deadlines")

    def _is_behind(self, batch: Batch | None) -> bool:
        """Whether the walk has come further than ``batch``."""
        if self._after is None or batch is None:
            return False
        return (self._after.deadline, self._after.id) > (batch.deadline, batch.id)

    async def _warn(self, batches: Sequence[Batch], now: datetime) -> int:
        """Warn of those that will be late; how many could not be judged."""
        try:
            judged = await self._judged(batches)
        except Temporary:
            raise
        except Exception:  # one of them cannot be judged: which one?
            if len(batches) == 1:
                raise
            return await self._items.each(
                "warn_of_deadlines",
                batches,
                lambda batch: self._warn([batch], now),
                name=lambda batch: batch.id,
            )
        risky = [batch for batch in judged if is_at_risk(batch, now)]
        return await self._items.each(
            "warn_of_deadlines", risky, self._tell, name=lambda batch: batch.id
        )

    async def _judged(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        return await self._estimates.add(batches)

    async def _tell(self, batch: Batch) -> None:
        if not await self._coordination.once(f"at_risk/{batch.id}", _AT_RISK_AGAIN):
            return
        now = self._clock.now()
        event = at_risk_event(batch, now)
        await self._metadata.outbox.add([event], now)
        await self._publisher.publish(event)

    async def _unfinished(
        self, statuses: Sequence[BatchStatus], *, before: datetime
    ) -> AsyncIterator[Sequence[Batch]]:
        """All batches in ``statuses`` since before ``before``, some at a time.

        All: those that wait for long by right must not hide the ones behind them.
        """
        after: Batch | None = None
        while found := await self._metadata.batches.unfinished(
            statuses, before=before, limit=PAGE, after=after
        ):
            yield found
            after = found[-1]
            await asyncio.sleep(0)


def _raise_if(failed: int, step: str) -> None:
    if failed:
        raise StepFailed(f"{failed} items of {step} failed")


def _reminder(batch: Batch) -> Event:
    """The event that moves a batch on from its state."""
    if batch.status is BatchStatus.VALIDATING:
        return lifecycle_event(EventType.BATCH_CREATED, batch)
    kind = {
        BatchStatus.FINALIZING: EventType.BATCH_EXECUTED,
        BatchStatus.CANCELLING: EventType.BATCH_CANCELLING,
    }[batch.status]
    return internal_event(kind, batch.id, traceparent=batch.traceparent)
