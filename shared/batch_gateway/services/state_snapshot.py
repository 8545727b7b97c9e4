"""Collects the state of the whole service from its stores.

Any process can read it, even if all others are at zero. Database and coordination store are read
independently: while one is unavailable, the state has the other's part. It is reused for
a moment, so however many ask, the servers are asked once.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from batch_gateway.core.errors import Temporary
from batch_gateway.core.model import BatchStatus
from batch_gateway.ports.batches import Backlog
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore, PoolState
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.shard_queue import QueueDepth

T = TypeVar("T")

#: How long either server may take; a page that comes late is no use.
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataState:
    """The part of the state that is in the database."""

    batches: Mapping[BatchStatus, int]
    backlog: Backlog
    last_dead: datetime | None  # when an event was given up last; None: none is kept
    pending_webhooks: int
    unsent_since: datetime | None  # of the oldest event in the outbox; None: the outbox is empty


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinationState:
    """The part of the state that is in the coordination store."""

    depth: QueueDepth
    pools: Sequence[PoolState]
    running: int  # activations
    pending: int  # wake-ups on their way
    full: Sequence[str]  # stores that take no more


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    at: datetime
    stored: MetadataState | None  # None: the database does not answer
    shared: CoordinationState | None  # None: the coordination store does not answer

    @property
    def slack(self) -> timedelta | None:
        """Time until the first deadline, negative when it has passed; None: there is none."""
        first = None if self.stored is None else self.stored.backlog.first_deadline
        return None if first is None else first - self.at

    @property
    def unsent_for(self) -> timedelta | None:
        """Age of the oldest event that the broker has not accepted; None: there is none."""
        since = None if self.stored is None else self.stored.unsent_since
        return None if since is None else max(self.at - since, timedelta(0))


class StateReader:
    def __init__(
        self,
        metadata: MetadataStore,
        coordination: CoordinationStore,
        clock: Clock,
        *,
        kept: timedelta = timedelta(seconds=1),
    ) -> None:
        """``kept``: maximum age of a state that is reused."""
        self._metadata = metadata
        self._coordination = coordination
        self._clock = clock
        self._kept_s = kept.total_seconds()
        self._looking = asyncio.Lock()
        self._seen: ServiceState | None = None
        self._seen_at = 0.0

    async def state(self) -> ServiceState:
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if self._seen is None or now - self._seen_at > self._kept_s:
                self._seen = await self._look()
                self._seen_at = asyncio.get_running_loop().time()
            return self._seen

    async def _look(self) -> ServiceState:
        stored, shared = await asyncio.gather(_or_none(self._stored()), _or_none(self._shared()))
        return ServiceState(at=self._clock.now(), stored=stored, shared=shared)

    async def _stored(self) -> MetadataState:
        batches = self._metadata.batches
        dead = await self._metadata.dead_letters.list(limit=1)
        unsent = await self._metadata.outbox.unsent(before=self._clock.now(), limit=1)
        return MetadataState(
            batches=await batches.count_by_status(),
            backlog=await batches.backlog(),
            last_dead=dead[0].died_at if dead else None,
            pending_webhooks=await self._metadata.webhooks.pending(),
            unsent_since=unsent[0].created_at if unsent else None,
        )

    async def _shared(self) -> CoordinationState:
        running, pending = await self._coordination.activations.count()
        return CoordinationState(
            depth=await self._coordination.queue.depth(),
            pools=await self._coordination.slots.pools(),
            running=running,
            pending=pending,
            full=await self._coordination.full_stores.stores(),
        )


async def _or_none(answer: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await answer
    except (Temporary, TimeoutError):
        return None
