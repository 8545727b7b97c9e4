"""Shard rows of the metadata store: leases and progress.

The rules of all aggregates (one transaction a method, lock order, errors) are those of
``ports.metadata``.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from batch_gateway.core.events import Event
from batch_gateway.core.ids import ActivationId, BatchId, FileId, ShardId
from batch_gateway.core.model import (
    Batch,
    ClosedShard,
    File,
    Lease,
    LeaseRef,
    QueueEntry,
    ResultPart,
    ResultTally,
    Shard,
)
from batch_gateway.core.usage import BatchReport


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseStatus:
    """The state of a lease in the database."""

    lease: LeaseRef
    held: bool  # epoch and token are still the shard's
    ready: bool  # no lease of the shard is held, and it may be leased
    paused: bool
    ending: bool  # the batch has an ending or is terminal: stop calls, hand back
    deadline: datetime
    time_left: timedelta  # until the deadline, by the database's clock; negative: it has passed


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairedShards:
    """What ``mend`` has changed."""

    batch: Batch  # as it is now
    shards: Sequence[ShardId]  # whose rows could not be decoded; they are closed now
    last: bool  # no shard is open any more, so the events were written


class ShardRows(Protocol):
    async def claim(
        self, shard: ShardId, *, holder: ActivationId, token: str, now: datetime
    ) -> Lease | None:
        """Lease a ready shard: locks the batch row, epoch + 1, records holder and token.

        None unless the batch is in_progress, not paused, without ending, and the shard is ready.
        The lease contains the time left by the database's clock: holders' clocks may differ.
        """
        ...

    async def take_over(
        self, observed: LeaseRef, *, holder: ActivationId, token: str, now: datetime
    ) -> Lease | None:
        """Take a leased shard from a holder that is gone: epoch + 1, new holder and token.

        None when epoch or token are not the observed ones any more, the shard is closed, or the
        batch is terminal. Unlike ``claim`` it does not mind a pause or an ending: the taker hands
        the shard back with the parts that it found.
        """
        ...

    async def finish(
        self,
        lease: LeaseRef,
        parts: Sequence[ResultPart],
        tally: ResultTally,
        *,
        now: datetime,
        events: Sequence[Event],
    ) -> ClosedShard | None:
        """Close a shard whose lines all have results; None when the lease is lost.

        Records the tally. The last open shard moves an in_progress batch to finalizing
        in the same transaction (a cancelling one stays so), and only then ``events`` are written.
        """
        ...

    async def complete(
        self,
        lease: LeaseRef,
        tally: ResultTally,
        *,
        deadline: datetime,
        files: Sequence[File],
        output: FileId | None,
        error: FileId | None,
        now: datetime,
        events: Sequence[Event],
        options: Mapping[str, Any] | None = None,
        report: BatchReport | None = None,
    ) -> Batch | None:
        """Complete a batch by closing its only shard: ``finish`` of both, in one transaction.

        ``tally`` is that of all lines of the batch, ``files`` are the rows of their results, and
        ``options`` the batch's new ones (None: they stay); ``report`` is kept as by
        ``BatchRows.finish``. The batch goes through finalizing to
        completed, and the row of the shard is deleted. None, and nothing has changed, when the
        lease is lost, or the batch is not in_progress, has an ending, another ``deadline``, other
        open shards, or not as many lines as ``tally``. Raises Conflict when a file's id is taken.
        """
        ...

    async def release(
        self,
        lease: LeaseRef,
        parts: Sequence[ResultPart],
        tally: ResultTally,
        *,
        now: datetime,
        events: Sequence[Event],
    ) -> ClosedShard | bool:
        """Hand a shard back with the exact list of its parts.

        True: it is ready again. Closed: the batch has an ending, so the shard was closed as by
        ``finish`` (the last one moves the batch on). False: the lease is lost.
        ``tally`` is that of ``parts``; it is recorded in either case.
        """
        ...

    async def checkpoint(self, tallies: Mapping[LeaseRef, ResultTally]) -> Sequence[Batch]:
        """Record what is finished under leases that continue; returns the batches that changed.

        Leases that are lost are passed over. A batch's counts and usage are the sums of what is
        recorded for its shards, and never fall: of two tallies of a shard the greater is kept,
        each amount by itself.
        """
        ...

    async def standings(self, leases: Sequence[LeaseRef]) -> Sequence[LeaseStatus]:
        """What became of each lease and its batch, in one query; in the order of the request.

        Of an unknown batch: neither held nor ready, and ending.
        """
        ...

    async def ready(self, *, after: ShardId | None, limit: int) -> Sequence[QueueEntry]:
        """Ready shards of batches that may run (in_progress, not paused, no ending).

        Ordered by batch id and index; ``after`` continues from the last one returned.
        """
        ...

    async def leased(self, *, limit: int) -> Sequence[tuple[LeaseRef, datetime]]:
        """All leases with the time they were granted, longest held first.

        One whose time cannot be decoded has been held since 1970.
        """
        ...

    async def held_by(self, holder: ActivationId, *, limit: int) -> Sequence[LeaseRef]:
        """Some of the leases of ``holder``, longest held first; all when there are not more."""
        ...

    async def in_unknown_state(self, *, limit: int) -> Sequence[BatchId]:
        """Some of the batches that have not ended and have open shards that are neither ready nor
        leased, so that no executor ever finds them; ``mend`` closes them."""
        ...

    def of_batch(self, batch: BatchId) -> AsyncIterator[Shard]:
        """All shards of a batch by index. Raises CorruptRow at one that cannot be decoded."""
        ...

    async def mend(
        self, batch: BatchId, *, now: datetime, events: Sequence[Event]
    ) -> RepairedShards | None:
        """Close the shards of a batch whose rows cannot be decoded, and count the open ones anew.

        Such a row is replaced by one with what can be decoded of it, without parts, and with a
        tally of one result for each line: the assembler takes that for results that are lost. The
        batch's counts stay as they are. When no shard is open any more, an in_progress batch moves
        to finalizing, and only then ``events`` are written, as by ``finish``.
        None: there was nothing to mend, the batch has ended, or another has changed it meanwhile.
        Raises CorruptRow when the row of the batch itself cannot be decoded.
        """
        ...
