"""The queue of ready shards; a part of the coordination store (``ports.coordination``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from batch_gateway.core.ids import BatchId, ShardId, TenantId
from batch_gateway.core.model import LeaseRef, QueueEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    ready: int  # shards that can be proposed
    leased: int  # shards with a heartbeat, expired or not
    reserved: int  # proposed and neither leased nor given back yet


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingWork:
    """What waits of a batch."""

    deadline: datetime
    urgent_after: datetime | None  # None: never
    cost: Mapping[str, int]  # of its ready shards, by model


class ShardQueue(Protocol):
    """Which shard is next. It only proposes; the database grants the lease.

    Two lanes. Urgent: batches whose ``urgent_after`` has come, earliest deadline first. Fair:
    all; tenants share by weighted virtual time (estimated tokens proposed), inside a tenant by
    priority, then earliest deadline; inside a batch plan order. A tenant that comes back starts
    at the smallest virtual time of those that it competes with. After three urgent proposals in a
    row comes a fair one, so urgent work takes at most three quarters while other work waits. Urgent
    proposals count as the tenant's: the urgent lane serves a tenant at most eight shards ahead of
    the others that want the model, so near deadlines change when a tenant is served, not how much
    it gets.
    """

    async def push(self, entries: Sequence[QueueEntry]) -> int:
        """Make shards ready and return how many are new.

        Known ones are left alone, whether ready, reserved or leased (also by a lease that ran
        out and was not reclaimed yet). But the newest push decides the priority and deadline of
        a batch with ready shards, and its urgency if it has one.
        """
        ...

    async def propose(
        self,
        *,
        models: Sequence[str] | None = None,
        avoid: Sequence[str] = (),
        avoid_fair: Sequence[str] | None = (),
        avoid_urgent: Sequence[str] | None = (),
        avoid_batches: Sequence[BatchId] = (),
        held: Sequence[TenantId] | None = None,
        reserve: timedelta = timedelta(seconds=10),
    ) -> QueueEntry | None:
        """The next shard, hidden from others for ``reserve``; None when none is ready.

        ``models`` limits the choice to those models (None: all); ``avoid`` leaves models out,
        ``avoid_fair`` and ``avoid_urgent`` leave more of them out of one lane (None: all). Of the
        models in ``avoid_fair`` the work of tenants that are not ``held`` is proposed all the same
        (None: of no tenant). Of ``avoid_batches`` nothing is proposed. A reservation that is not
        followed by ``lease``, ``release`` or ``complete`` in time makes the shard ready again.
        """
        ...

    async def lease(self, entry: QueueEntry, lease: LeaseRef, ttl: timedelta) -> None:
        """Record a lease that the database granted; also registers one anew after a wipe."""
        ...

    async def renew(self, leases: Sequence[LeaseRef], ttl: timedelta) -> None:
        """Heartbeat. A lease unknown here (a wipe) is registered; a higher epoch wins."""
        ...

    async def release(
        self, entry: QueueEntry, *, refund: float = 0.0, lease: LeaseRef | None = None
    ) -> None:
        """Make a reserved or leased shard ready again; a ``refund`` (0..1) of its cost is given
        back to the tenant's virtual time.

        ``lease`` is the one that has ended: nothing happens when a newer one is recorded here.
        """
        ...

    async def complete(self, shards: Sequence[ShardId]) -> None:
        """Forget shards that are closed, in whatever state they are here."""
        ...

    async def withdraw(self, batch: BatchId) -> int:
        """Forget all ready shards of a batch (paused, cancelled, expired); how many."""
        ...

    async def expired(self, limit: int) -> Sequence[LeaseRef]:
        """Leases whose heartbeat ran out, longest first; they stay until reclaimed or renewed."""
        ...

    async def leases(self, limit: int) -> Sequence[LeaseRef]:
        """Leases that are recorded here, those that run out first at the front."""
        ...

    async def reopen(self, leases: Sequence[LeaseRef]) -> None:
        """Make the shards of these very leases (as recorded here) ready again: in the database
        the leases are over and the shards are ready."""
        ...

    async def discard(self, leases: Sequence[LeaseRef]) -> None:
        """Forget these very leases (shard, epoch and token as recorded here), and nothing else:
        they are over in the database."""
        ...

    async def alive(self, leases: Sequence[LeaseRef]) -> Sequence[bool]:
        """Whether each of these very leases has a heartbeat that has not run out."""
        ...

    async def waiting(
        self, most: int, also: Sequence[BatchId] = ()
    ) -> Mapping[BatchId, WaitingWork]:
        """What waits of the ``most`` batches with the earliest deadlines, and of ``also``.

        Batches without ready shards are left out.
        """
        ...

    async def urge(self, urgent_after: Mapping[BatchId, datetime]) -> None:
        """Set anew from when on batches are urgent, where they have ready shards."""
        ...

    async def depth(self) -> QueueDepth: ...
