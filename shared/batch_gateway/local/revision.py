"""The replicas of one Service: scales them, and assigns requests to them.

What Knative spreads over autoscaler, activator and queue-proxy happens here at once:

- a request takes a place in a replica, never more than ``containerConcurrency`` in one; who finds
  none waits in a queue of ten per place, and beyond that is refused;
- the first replica is started by the first request, further ones when there have been more requests
  than the autoscaler's target allows for ``_PATIENCE_S``: Knative's autoscaler looks every two
  seconds, and what is over in a moment is not worth a process;
- never more replicas than ``most`` (the processor cores): on one machine more would only take each
  other's time;
- a request may name the Services that it leads to (``KnativeService.start_next``): an event starts
  their first replicas at once, a request to the public Service when it has succeeded;
- requests go to the oldest replica with room, so the surplus ones become idle. A replica that was
  idle for a whole stable window is stopped, down to ``min-scale``. A busy replica is never stopped;
  Kubernetes may stop one;
- if the last replica crashes during a request, it is replaced at once, as a kubelet restarts a
  container: the request will be repeated.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable

from batch_gateway.local.durations import TimeScale
from batch_gateway.local.replica import FunctionReplica, ReplicaState, StartFailed
from batch_gateway.local.resources import KnativeService

logger = logging.getLogger(__name__)

_QUEUE_PER_PLACE = 10  # queue-proxy's
_QUEUE_UNLIMITED = 10_000  # the activator's, where concurrency has no limit
_PATIENCE_S = 0.25  # that requests wait for the replicas that are there before others are started
_SERVING = (ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DOUBTED)


class NoReplicaAvailable(Exception):
    """No replica will take the request; answered 503."""


class ReplicaSlot:
    """The right to have one request in flight in a replica."""

    def __init__(self, revision: "Revision", replica: FunctionReplica) -> None:
        self.replica = replica
        self._revision: Revision | None = revision

    def leave(self) -> None:
        """Free the place; a second time it is nothing."""
        revision, self._revision = self._revision, None
        if revision is not None:
            revision.left(self.replica)

    def doubt(self) -> None:
        """Send the replica no more requests until its process has been checked."""
        if self._revision is not None:
            self._revision.doubt(self.replica)


class Revision:
    def __init__(
        self,
        service: KnativeService,
        durations: TimeScale,
        tasks: asyncio.TaskGroup,
        new_replica: Callable[[], FunctionReplica],
        *,
        most: int,
        start_first: Callable[[str], None],
        on_change: Callable[[], None],
    ) -> None:
        """``most``: replicas that it ever starts; ``start_first`` starts the first replica of the
        Service with that name; ``on_change`` is called when a replica is ready, or is gone."""
        self._most = most
        self._start_first = start_first
        self._on_change = on_change
        self.service = service
        self.replicas: list[FunctionReplica] = []
        self._durations = durations
        self._tasks = tasks
        self._new_replica = new_replica
        self._waiting: deque[asyncio.Future[ReplicaSlot]] = deque()
        self._idle_timers: dict[FunctionReplica, asyncio.TimerHandle] = {}
        self._looks_at: asyncio.TimerHandle | None = None  # when it scales
        self._closed = False
        self._retired = False
        self.was_ready = False
        """Whether the Service has an address: it gets one once a revision of it was ready."""

    def start_next(self, method: str, path: str) -> None:
        """Start what such a request leads to, so that its event need not wait for it."""
        for name in self.service.start_next.get(f"{method} {path}", ()):
            self._start_first(name)

    def start_first(self) -> None:
        """Start a replica if there is none. It falls idle as one that has had a request."""
        if not self._closed and not self._retired and not self._serving():
            self._tasks.create_task(self._live(self._launch()))

    async def enter(self) -> ReplicaSlot:
        """Wait for a place in a replica. Raises Refused."""
        if self._closed:
            raise NoReplicaAvailable(f"{self.service.name} is shutting down")
        if (replica := self._with_room()) is not None and not self._waiting:
            place = self._take(replica)
            self._scale_soon()
            return place
        if len(self._waiting) >= self._queue_length():
            raise NoReplicaAvailable("pending request queue full")
        waiting: asyncio.Future[ReplicaSlot] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._scale_soon()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                waiting.result().leave()
            raise
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def left(self, replica: FunctionReplica) -> None:
        replica.in_flight -= 1
        self._grant()
        if replica.in_flight == 0:
            self._idle(replica)

    def doubt(self, replica: FunctionReplica) -> None:
        replica.broke_request = True
        if replica.state is ReplicaState.READY and not self._closed:
            replica.state = ReplicaState.DOUBTED
            self._tasks.create_task(self._prove(replica))

    async def warm(self) -> None:
        """Start one replica and wait until it is ready. Raises StartFailed."""
        replica = self._launch()
        try:
            await replica.start()
        except StartFailed:
            self._forget(replica)
            raise
        self._tasks.create_task(self._attend(replica))
        self._became_ready(replica)

    def start_least(self) -> None:
        """Start as many replicas as there must always be."""
        self._scale()

    def retire(self) -> None:
        """Another revision gets the requests now: each replica stops when it falls idle.

        A replica that is busy continues, as on a cluster, for as long as its requests last.
        """
        self._retired = True
        for replica in list(self.replicas):
            if replica.in_flight == 0:
                self._idle(replica)

    async def stop(self, grace_s: float) -> None:
        """Refuse further requests and stop every replica."""
        self._closed = True
        self._refuse_waiting("the platform is shutting down")
        async with asyncio.TaskGroup() as stopping:
            for replica in self.replicas:
                stopping.create_task(replica.stop(grace_s))

    # which gets a place

    def _with_room(self) -> FunctionReplica | None:
        """The oldest ready replica below its target, else the least busy one below its limit."""
        ready = [replica for replica in self.replicas if replica.state is ReplicaState.READY]
        for replica in ready:
            if replica.in_flight < self.service.scaling.target:
                return replica
        least = min(ready, key=lambda replica: replica.in_flight, default=None)
        limit = self.service.concurrency or math.inf
        return least if least is not None and least.in_flight < limit else None

    def _take(self, replica: FunctionReplica) -> ReplicaSlot:
        replica.in_flight += 1
        if timer := self._idle_timers.pop(replica, None):
            timer.cancel()
        return ReplicaSlot(self, replica)

    def _grant(self) -> None:
        while self._waiting and (replica := self._with_room()) is not None:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(self._take(replica))

    def _queue_length(self) -> int:
        if not self.service.concurrency:
            return _QUEUE_UNLIMITED
        return _QUEUE_PER_PLACE * self.service.concurrency * max(1, len(self.replicas))

    def _refuse_waiting(self, why: str) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(NoReplicaAvailable(why))

    # how many replicas there are

    def _scale_soon(self) -> None:
        """Start the replicas that requests call for; beside others only if they still do then."""
        if not self._serving():
            self._scale()
        elif self._looks_at is None:
            loop = asyncio.get_running_loop()
            self._looks_at = loop.call_later(_PATIENCE_S, self._scale)

    def _scale(self) -> None:
        """Start the replicas that the requests of this moment call for."""
        if self._looks_at is not None:
            self._looks_at.cancel()
            self._looks_at = None
        scaling = self.service.scaling
        wanted = len(self._waiting) + sum(replica.in_flight for replica in self.replicas)
        needed = min(math.ceil(wanted / scaling.target), self._most)
        needed = max(self._min_scale, min(needed, scaling.max_scale or needed))
        if not self._closed:
            for _ in range(needed - self._serving()):
                self._tasks.create_task(self._live(self._launch()))

    @property
    def _min_scale(self) -> int:
        return 0 if self._retired else self.service.scaling.min_scale

    def _serving(self) -> int:
        return sum(replica.state in _SERVING for replica in self.replicas)

    def _launch(self) -> FunctionReplica:
        replica = self._new_replica()
        self.replicas.append(replica)
        return replica

    async def _live(self, replica: FunctionReplica) -> None:
        try:
            await replica.start()
        except StartFailed as failure:
            self._forget(replica)
            if not self._closed:
                logger.error("%s does not start: %s", self.service.name, failure)
            if not self._serving():
                self._refuse_waiting(f"{self.service.name} does not start")
            return
        if self._closed:  # stop() came before there was a process
            await replica.stop(self.service.timeout_s)
            self._forget(replica)
            return
        self._became_ready(replica)
        await self._attend(replica)

    async def _attend(self, replica: FunctionReplica) -> None:
        """Wait for the end of a replica, and start another for the requests that wait."""
        child = await replica.wait()
        self._forget(replica)
        if replica.state is not ReplicaState.STOPPING:
            logger.warning("%s %s", self.service.name, child.how_it_ended())
            self._scale()
            broke = replica.broke_request or replica.in_flight > 0
            if broke and not self._serving() and not self._closed and not self._retired:
                self._tasks.create_task(self._live(self._launch()))

    async def _prove(self, replica: FunctionReplica) -> None:
        if await replica.prove():
            self._became_ready(replica)

    def _became_ready(self, replica: FunctionReplica) -> None:
        self._on_change()
        self._grant()
        if replica.in_flight == 0:
            self._idle(replica)

    def _forget(self, replica: FunctionReplica) -> None:
        self.replicas.remove(replica)
        self._on_change()
        if timer := self._idle_timers.pop(replica, None):
            timer.cancel()

    def _idle(self, replica: FunctionReplica) -> None:
        """Stop the replica unless a request comes within its stable window."""
        if replica.state is not ReplicaState.READY or replica not in self.replicas:
            return
        scaling = self.service.scaling
        patience = scaling.window_s + scaling.scale_down_delay_s
        if len(self.replicas) == 1:
            patience += scaling.retention_s
        if timer := self._idle_timers.get(replica):
            timer.cancel()
        self._idle_timers[replica] = asyncio.get_running_loop().call_later(
            self._durations(patience), self._retire, replica
        )

    def _retire(self, replica: FunctionReplica) -> None:
        self._idle_timers.pop(replica, None)
        if self._serving() <= self._min_scale:
            return
        replica.state = ReplicaState.STOPPING
        self._tasks.create_task(replica.stop(self.service.timeout_s))
