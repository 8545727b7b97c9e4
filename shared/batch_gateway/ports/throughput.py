"""Throughput reports of executors; a part of the coordination store (``ports.coordination``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from batch_gateway.core.ids import ActivationId, BatchId
from batch_gateway.core.throughput import BatchThroughput, BlockedReason, Buckets


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkReport:
    """What one holder did for one model of a batch since its last report, and has left to do."""

    batch: BatchId
    model: str
    done: float  # cost of lines finished; those given back unfinished do not count
    left: float  # cost of lines in its hands that are not finished
    blocked: BlockedReason | None = None  # why none of them continues; None: some do


class ThroughputStore(Protocol):
    """Counts what is finished, by batch and by model, for the estimates of ``core.throughput``."""

    async def report(
        self, holder: ActivationId, reports: Sequence[WorkReport], *, ttl: timedelta
    ) -> None:
        """Add what was done; what is left replaces the holder's last word, for ``ttl``.

        At most one stint for a batch and model.
        """
        ...

    async def of_batches(self, batches: Sequence[BatchId]) -> Mapping[BatchId, BatchThroughput]:
        """Those that executors have worked on lately."""
        ...

    async def block(self, reasons: Mapping[str, BlockedReason | None], *, ttl: timedelta) -> None:
        """Say for each model why no call of it can be made, for ``ttl``; None: one was answered."""
        ...

    async def blocked(self, models: Sequence[str]) -> Mapping[str, BlockedReason]:
        """Why models cannot be called: those of ``models`` whose last report has a reason."""
        ...

    async def of_models(self, models: Sequence[str]) -> Mapping[str, Buckets]:
        """What was finished for each model, by whatever batch; empty when nothing is known."""
        ...
