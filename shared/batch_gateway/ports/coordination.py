"""The coordination store (Redis): queue, slots, locks, rates and notifications.

All of it may be lost at any time. Then ``CoordinationStore.generation`` is None until a process has
rebuilt the queue from the database and set a new one. All times are the server's own. All methods
raise Unavailable when the server does not answer.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from batch_gateway.core.breaker import BreakerState
from batch_gateway.core.ids import ActivationId, BatchId
from batch_gateway.core.limits import LimitState, MonitorSignal, PoolObservation
from batch_gateway.core.pool_history import PoolSample
from batch_gateway.ports.function_instances import FunctionInstances
from batch_gateway.ports.shard_queue import ShardQueue
from batch_gateway.ports.throughput import ThroughputStore


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReport:
    """A holder's report about one pool."""

    endpoint: str  # whose ceiling the pool shares with others
    want: int  # in-flight calls plus those ready to start
    in_use: int  # calls in flight
    seen: PoolObservation  # since the last report; ``in_flight`` and ``watched`` are not read
    aborted: int = 0  # calls aborted since the last report
    ceiling: int | None = None  # of the pool, below the rules' own; None: no further bound
    endpoint_ceiling: int | None = None  # of all pools of the endpoint together; None: no bound
    breaker: BreakerState = BreakerState.CLOSED  # of the endpoint, as this holder reports it


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotGrant:
    """Slots granted to one holder until the next sync, at most for its ``ttl``."""

    slots: int  # may be below what is in use: start nothing until it is not
    limit: int  # of the pool, for all holders together, within all ceilings
    free: int  # slots of the pool that are not wanted now
    generation: str | None  # None: the coordination store lost its memory
    excess: int = 0  # calls to abort at once, the youngest first: others need their slots
    users_wait: bool = False  # interactive users do, or did a moment ago
    watch: bool = False  # this holder is the one to watch the engine until the next sync
    others_in_use: int = 0  # calls in flight of all other holders, as each reported last
    others_most: int = 0  # calls that they can have in flight before this holder's next sync
    answered: int = 0  # calls of all holders that the engine has answered since the pool is known


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """How a pool stands, for people and for estimates."""

    pool: str
    endpoint: str
    limit: LimitState  # with the last brake, its reason and its time
    granted: int  # slots granted or in use
    in_use: int  # calls in flight
    wanted: int  # calls in flight and calls that could start
    holders: int
    aborted: int  # calls aborted in favour of others since the pool is known
    signal: MonitorSignal | None  # the last one of the monitor; None: no monitor runs now
    breaker: BreakerState | None = None  # as a holder reported it last; None: there is no holder


class Slots(Protocol):
    """One limit per pool (``endpoint/model``), moved by all executors together.

    The sum of the grants never exceeds the limit, nor an endpoint's ceiling, nor the one of all
    endpoints together, except by calls that were already running when it fell. Sharing is fair
    among holders, and among pools under the same ceiling, and leaves no wanted slot idle for
    longer than a sync.
    """

    async def sync(
        self, holder: ActivationId, reports: Mapping[str, SlotReport], *, ttl: timedelta
    ) -> Mapping[str, SlotGrant]:
        """Report what happened since the last sync; returns the present grants, by pool.

        What all holders saw is folded into a pool's limit by ``core.limits`` at most once per
        controller interval, and with each signal; the calls in flight are the ``in_use`` of all
        holders. While the
        generation is missing or younger than ``ttl``, a grant is at most what is in use. One
        holder of a pool at a time is assigned to monitor its engine; another one is when it stops
        reporting.
        """
        ...

    async def leave(self, holder: ActivationId, pools: Sequence[str]) -> None:
        """Give all slots of these pools back at once."""
        ...

    async def pools(self) -> Sequence[PoolState]:
        """All pools that are not forgotten."""
        ...

    async def history(self, pools: Sequence[str]) -> Mapping[str, Sequence[PoolSample]]:
        """Samples of these pools by time, ``SAMPLE_EVERY`` apart while executors sync.

        At most 360 of each, the last ones, which are an hour's; all are forgotten an hour after
        the last one.
        """
        ...


class Activations(Protocol):
    """Register of open ``work.available`` requests.

    Running ones (each with a heartbeat) and pending wake-ups (each expiring) together never
    exceed the maximum.
    """

    async def enter(self, activation: ActivationId, *, maximum: int, ttl: timedelta) -> bool:
        """Register; uses up one pending wake-up if there is any. False: the house is full."""
        ...

    async def renew(
        self, activation: ActivationId, ttl: timedelta, *, silence: timedelta
    ) -> Sequence[ActivationId]:
        """Heartbeat. Returns some activations that are dead: they have been silent for ``silence``
        beyond their time, have not left, and are not forgotten."""
        ...

    async def serve(
        self, request: str, activation: ActivationId, remembered: timedelta
    ) -> Sequence[ActivationId]:
        """Note for ``remembered`` that the activation serves ``request``; the others that have.

        The same request comes again when the one that served it has died, or by a fault of the
        broker: ``challenge`` returns which.
        """
        ...

    async def challenge(
        self, activations: Sequence[ActivationId], ttl: timedelta, *, missed: timedelta
    ) -> None:
        """Let these be registered for no longer than ``ttl`` unless they renew.

        One that would be registered for no longer than ``missed`` has missed a heartbeat: it is
        dead at once.
        """
        ...

    async def challenged(
        self, activations: Sequence[ActivationId], ttl: timedelta
    ) -> Sequence[bool | None]:
        """Whether each runs, after a challenge with ``ttl``; None: it is not known yet."""
        ...

    async def forget(self, activation: ActivationId) -> None:
        """What a dead activation has left is taken over."""
        ...

    async def leave(self, activation: ActivationId) -> None: ...

    async def leave_unless_last(self, activation: ActivationId) -> bool:
        """Leave, atomically, if another one is registered; False and nothing done otherwise."""
        ...

    async def invite(self, *, maximum: int, ttl: timedelta) -> bool:
        """Note one pending wake-up, if running plus pending are below ``maximum``."""
        ...

    async def count(self) -> tuple[int, int]:
        """(running, pending)."""
        ...


class BatchChangeNotifications(Protocol):
    """Hints that a batch has changed (cancel, pause, deadline): read the database now. And
    questions to activations whether they live."""

    async def publish(self, batch: BatchId) -> None: ...

    async def ask(self, activation: ActivationId) -> None:
        """Have an activation renew its entry in the register at once."""
        ...

    def listen(self) -> AbstractAsyncContextManager[AsyncIterator[BatchId | ActivationId]]:
        """Batches that change and activations that are checked, from now on; heartbeats make up
        for lost messages."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RateDecision:
    """Whether one more may pass, and what comes then."""

    passed: bool
    remaining: int  # how many could follow at once
    next_in: timedelta  # until the next may pass; zero: at once
    full_in: timedelta  # until as many as the limit may pass at once


class RateLimiter(Protocol):
    """How often something happens."""

    async def take(self, name: str, limit: int, window: timedelta) -> RateDecision:
        """Count one more of ``name`` unless there were ``limit`` within ``window`` already.

        The right to pass comes back evenly, one after each ``window`` / ``limit``.
        """
        ...

    async def give_back(self, name: str, limit: int, window: timedelta) -> None:
        """Undo one ``take`` that passed, with the same ``limit`` and ``window``."""
        ...


class Locks(Protocol):
    """Named locks with an expiry. They only save work: after a wipe a second holder may get one."""

    async def acquire(self, name: str, holder: str, ttl: timedelta) -> bool:
        """Take the right ``name`` for ``ttl``, or renew it; False: another has it."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """Give it back; nothing happens when another has it."""
        ...


class FullStoreFlags(Protocol):
    """Names of full stores, as reported by the processes whose writes failed."""

    async def report(self, store: str, ttl: timedelta) -> None:
        """Count ``store`` as full for ``ttl`` from now on."""
        ...

    async def stores(self) -> Sequence[str]:
        """The stores that are full. ``scratch`` is this server itself."""
        ...


class CoordinationStore(Protocol):
    """All of the above on one server."""

    @property
    def queue(self) -> ShardQueue: ...

    @property
    def slots(self) -> Slots: ...

    @property
    def activations(self) -> Activations: ...

    @property
    def batch_changes(self) -> BatchChangeNotifications: ...

    @property
    def throughput(self) -> ThroughputStore: ...

    @property
    def rate_limiter(self) -> RateLimiter: ...

    @property
    def locks(self) -> Locks: ...

    @property
    def full_stores(self) -> FullStoreFlags: ...

    @property
    def function_instances(self) -> FunctionInstances: ...

    async def generation(self) -> tuple[str, timedelta] | None:
        """The sentinel and its age; None when the server's memory was lost."""
        ...

    async def begin_rebuild(self, holder: str, ttl: timedelta) -> bool:
        """Take the lock for one rebuild, or renew it for the same ``holder``.

        False when another has it, or a generation is planted already.
        """
        ...

    async def end_rebuild(self, holder: str, generation: str, *, settled: bool = False) -> bool:
        """End a rebuild: plant the sentinel and give the lock back. False: the lock was lost.

        For one lifetime of a grant after it, slots are granted only for calls already in flight.
        ``settled`` skips that: the database shows no lease, so there can be no such calls.
        """
        ...

    async def once(self, name: str, ttl: timedelta) -> bool:
        """True for the first caller within ``ttl``, False for the others (at most one sweep)."""
        ...

    async def announce(self, name: str, value: str) -> None:
        """Make ``value`` the newest announcement of ``name``."""
        ...

    async def announced(self, name: str) -> str | None:
        """The newest announcement of ``name``; None: none, or the server's memory was lost."""
        ...

    async def check(self) -> None:
        """Raise Unavailable when the server does not answer."""
        ...

    async def close(self) -> None: ...
