"""Calls in flight to one endpoint and model, under the slots granted to it.

A *runner* is a task that takes one line after the other. There are never more of them than slots
granted, so a running call and a used slot are the same thing. A line that waits to be tried again
has no runner and requests no slot. When the grant falls, runners end after their present call; when
it rises, ``start`` begins more. While the endpoint refuses all calls, the whole pool pauses. While
the endpoint is unavailable, its circuit allows one trial call at a time.

A line that a runner took is settled in one place: by the outcome of its call, or, when the runner
was cancelled, by the callback of its task. That runs also for a task that never took its first
step, so no count and no trial of the circuit is ever left behind.

A shard is in several pools when its model has several replicas: each takes lines from it as it has
slots.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from operator import itemgetter

from batch_gateway import meters
from batch_gateway.core.limits import MonitorSignal
from batch_gateway.core.lines import not_answered
from batch_gateway.core.own_queue import ExecutorCalls
from batch_gateway.core.retry import CallOutcome
from batch_gateway.core.throughput import BlockedReason
from batch_gateway.ports.coordination import SlotGrant, SlotReport
from batch_gateway.ports.routing import ReplicaRoute
from batch_gateway.services.execute import pool_lines
from batch_gateway.services.execute.attempt import AttemptResult, ModelCaller, of_the_request
from batch_gateway.services.execute.circuit import EndpointCircuit
from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.services.execute.line_in_flight import LineInFlight
from batch_gateway.services.execute.outcomes import OtherExecutorTracker, PoolOutcomes
from batch_gateway.services.execute.preemption import LimitHeadroom, Preemption
from batch_gateway.services.execute.slot_scheduler import SlotScheduler
from batch_gateway.services.execute.supervision import report_unforeseen


class SlotPool:
    def __init__(
        self,
        route: ReplicaRoute,
        attempts: ModelCaller,
        circuit: EndpointCircuit,
        group: asyncio.TaskGroup,
        scheduler: SlotScheduler,
        *,
        most: int,
        stop_calls_at: float,
        full_budget_s: float,
        preemption: Preemption,
    ) -> None:
        """``route`` is one of those that share the pool; ``most``: calls in flight at most;
        ``stop_calls_at``: the activation's hard budget as ``loop.time()``; ``full_budget_s``: a
        call with that much time has had all that an activation can give; ``preemption`` chooses
        the calls that make room when users wait."""
        self.name = route.pool
        self.route = route
        self.circuit = circuit
        self.shards: list[LeasedShard] = []
        self.bound: int | None = None  # calls that the endpoint takes now; None: any number
        self.grant = 0
        self._granted = 0  # the last time; refusals lower ``grant`` until the next
        self._free = 0  # slots that were wanted by none the last time
        self.known = False  # there was a grant, be it of none
        self.closed = False
        self._now = asyncio.get_running_loop().time
        self._attempts = attempts
        self._routes: dict[str, ReplicaRoute] = {}  # by what clients call the model
        self._group = group
        self._scheduler = scheduler
        self._most = most
        self._stop_calls_at = stop_calls_at
        self._full_budget_s = full_budget_s
        self._preemption = preemption
        self._runners: dict[asyncio.Task[None], LineInFlight | None] = {}
        self.outcomes = PoolOutcomes()
        self._others = OtherExecutorTracker()
        self._told_answered = 0
        self._room = LimitHeadroom()

    def attach(self, shard: LeasedShard, route: ReplicaRoute) -> None:
        """Take lines of ``shard`` too, over ``route``; or over another one than before."""
        self.route = self._routes[shard.lease.shard.model] = route
        if shard not in self.shards:
            self.shards.append(shard)
            self.circuit.batch_arrived(shard.batch, self._now())

    def detach(self, shard: LeasedShard) -> None:
        """Take no more lines of ``shard``; calls that run continue."""
        if shard in self.shards:
            self.shards.remove(shard)

    @property
    def in_use(self) -> int:
        return len(self._runners)

    @property
    def own_calls(self) -> ExecutorCalls:
        """Calls of all executors in the engine."""
        answered = self.outcomes.answered
        return ExecutorCalls(running=self.in_use, ended=answered, others=self._others.calls)

    def take_answered(self) -> bool:
        """Whether the engine has answered a call since the last time."""
        told, self._told_answered = self._told_answered, self.outcomes.answered
        return self.outcomes.answered > told

    @property
    def load(self) -> float:
        """Calls in flight for its weight among other replicas."""
        return len(self._runners) / self.route.replica.weight

    @property
    def shut(self) -> bool:
        """The calendar allows no call now."""
        return self.bound == 0

    @property
    def usable(self) -> bool:
        """Whether the endpoint accepts calls, by the outcomes of the calls so far."""
        return self.circuit.closed and not self.shut

    @property
    def left(self) -> int:
        """Lines of all shards that are not running and have no result."""
        return sum(shard.left for shard in self.shards)

    @property
    def could_grow(self) -> bool:
        """All slots are in use, and there are lines for slots that are free."""
        return self._free > 0 and self.in_use >= self.grant and self.left > 0

    @property
    def needs_work(self) -> bool:
        """Fewer lines are left than the slots granted use in a round of calls, or in the time that
        leasing a shard may take; if they can be used.

        Lines that wait, to be tried again or for calm, keep no other work away.
        """
        return self._could_use(self.shards)

    @property
    def needs_urgent_work(self) -> bool:
        """The same, if only urgent work counts."""
        return self._could_use([shard for shard in self.shards if shard.urgent])

    def _could_use(self, shards: Sequence[LeasedShard]) -> bool:
        if self.shut:
            return False
        now = self._now()
        if not self.circuit.closed:  # a trial call needs a batch that does not fail itself
            return {shard.batch for shard in self.shards} <= {*self.circuit.batches.failing(now)}
        lines = pool_lines.ready(shards, self.circuit, now)
        return lines < max(1, min(self.grant, self._most)) * self.outcomes.rounds_ahead

    @property
    def can_run(self) -> bool:
        """Calls run here, or one could start as soon as its turn comes."""
        if not self.usable:
            return False
        return bool(self._runners) or self.grant > 0 or not self.known or not self.want()

    @property
    def has_no_slots(self) -> bool:
        """Has lines that could start, and neither a call running nor a slot to start one."""
        if self._runners or not self.left:
            return False
        return not self.circuit.closed or (self.grant == 0 and self.want() > 0)

    @property
    def blocked_reason(self) -> BlockedReason | None:
        """Why one more call could not be started now, or would be in vain; None: it could."""
        if self.circuit.unauthorized:
            return BlockedReason.ENDPOINT_UNAUTHORIZED
        if not self.circuit.closed or self.outcomes.unavailable:
            return BlockedReason.WAITING_FOR_MODEL
        if self.outcomes.refusals >= max(1, self.grant):
            return BlockedReason.ENGINE_SATURATED
        return BlockedReason.NO_SLOTS if self.known and len(self._runners) >= self.grant else None

    def want(self) -> int:
        """Slots that could be used now."""
        if self.closed or self.shut:
            return self.in_use
        now = asyncio.get_running_loop().time()
        startable = 0
        if now >= self.outcomes.paused_until and self.circuit.allows(now):
            calm = self._preemption.calm(self._room)
            startable = self._startable(now, calm=calm)
            if not startable and not calm and self._room.mostly_free(self.in_use):
                startable = self._startable(now, calm=True)
            if not self.circuit.closed:
                startable = min(startable, 1)
        return min(self._most, self.in_use + startable)

    def _startable(self, now: float, *, calm: bool) -> int:
        """Lines that could be started with slots enough."""
        return pool_lines.startable(self.shards, self.circuit, now, self.name, calm=calm)

    def report(self, signal: MonitorSignal | None) -> SlotReport:
        """What is wanted, and what happened since the last report; ``signal``: news of a watch."""
        seen, aborted = self.outcomes.take(signal)
        return SlotReport(
            endpoint=self.route.endpoint.name,
            want=self.want(),
            in_use=self.in_use,
            seen=seen,
            aborted=aborted,
            ceiling=self.route.ceiling,
            endpoint_ceiling=None if self.bound is None else max(1, self.bound),
            breaker=self.circuit.state,
        )

    def unreported(self, report: SlotReport) -> None:
        """Undo ``report``: it was not delivered."""
        self.outcomes.put_back(report)

    def granted(self, grant: SlotGrant, report: SlotReport, reported_after: float) -> None:
        """The answer to ``report``; other holders have reported after that ``loop.time()``."""
        self._others.granted(grant, report, reported_after=reported_after)
        self.grant = self._granted = 0 if self.shut else grant.slots
        self._free = grant.free
        self.known = True
        self._room.now(grant.limit)
        if grant.users_wait:
            self._preemption.unrest()
        if grant.excess:
            self._make_room(grant.excess)

    def _make_room(self, excess: int) -> None:
        """Abort the youngest calls, as far as that is allowed; their lines go back unharmed."""
        running = {work: task for task, work in self._runners.items() if work is not None}
        for work in self._preemption.choose(running, excess):
            work.aborts += 1
            work.aborting = True
            self.outcomes.aborted()
            running[work].cancel()

    def start(self) -> bool:
        """Start one runner, if there are a slot and a line for it."""
        if len(self._runners) >= min(self.grant, self._most):
            return False
        work = self._next()
        if work is None:
            return False
        runner = self._group.create_task(self._run(work))
        self._runners[runner] = work
        runner.add_done_callback(self._ended)
        return True

    def lower(self, bound: int | None) -> None:
        """The endpoint takes ``bound`` calls from now on: the youngest beyond that are aborted."""
        if bound is not None and (self.bound is None or bound < self.bound):
            running = [(work.started_at, task) for task, work in self._runners.items() if work]
            for _, task in sorted(running, key=itemgetter(0))[bound:]:
                task.cancel()
        self.bound = bound

    def abort(self, shard: LeasedShard | None = None) -> list[asyncio.Task[None]]:
        """Cancel running calls (of one shard); their lines go back unharmed."""
        tasks = [
            task
            for task, work in self._runners.items()
            if work is not None and (shard is None or work.shard is shard)
        ]
        for task in tasks:
            task.cancel()
        return tasks

    def _ended(self, runner: asyncio.Task[None]) -> None:
        """A runner is over. A line that it still had was cut: it goes back unharmed."""
        work = self._runners.pop(runner)
        if work is None:
            return
        self.circuit.gave_up(trial=work.trial)
        if work.aborting:
            work.aborting = False
            work.call_ended("preempted")
            work.shard.preempted(work, asyncio.get_running_loop().time())
        else:
            work.call_ended("interrupted")
            work.shard.give_back(work)

    def _next(self) -> LineInFlight | None:
        now = self._now()
        if self.closed or self.shut or now < self.outcomes.paused_until:
            return None
        if not self.circuit.allows(now):
            return None
        calm = self._preemption.calm(self._room)
        work = self._take(now, calm=calm)
        if work is None and not calm and self._room.mostly_free(self.in_use):
            work = self._take(now, calm=True)
        if work is not None:
            work.trial = self.circuit.start(work.shard.batch)
        return work

    def _take(self, now: float, *, calm: bool) -> LineInFlight | None:
        return pool_lines.take(
            self.shards, self.circuit, self._scheduler, now, self.name, slots=self.grant, calm=calm
        )

    async def _run(self, work: LineInFlight | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        while work is not None:
            self._runners[task] = work
            try:
                await self._call(task, work)
            except Exception:  # noqa: BLE001 - belongs to one part
                self._broken(task, work)
            self._runners[task] = None
            work = self._next() if len(self._runners) <= self.grant else None

    async def _call(self, task: asyncio.Task[None], work: LineInFlight) -> None:
        shard = work.shard
        timeout, cut = self._time_for(shard)
        if not timeout:
            self._out_of_time(task, work)
            return
        route = self._routes[shard.lease.shard.model]
        work.started_at = self._now()
        before = work.attempts, work.tries, shard.further
        ended = await self._attempts.attempt(work, route, timeout, self.circuit.admitted_since)
        self._preemption.used(self._now() - work.started_at)
        if cut and ended.verdict.outcome is CallOutcome.DROPPED and not self._time_for(shard)[0]:
            shard.drain()
            if timeout.total_seconds() < self._full_budget_s:
                work.attempts, work.tries, shard.further = before
                work.cut = True
                work.call_ended("out_of_time")
                self._out_of_time(task, work)
                return
        self._settle(task, work, ended)

    def _out_of_time(self, task: asyncio.Task[None], work: LineInFlight) -> None:
        """The budget or the deadline ended a call, not the endpoint: its line goes back."""
        self._runners[task] = None
        self.circuit.gave_up(trial=work.trial)
        work.shard.drain()
        work.shard.give_back(work)

    def _broken(self, task: asyncio.Task[None], work: LineInFlight) -> None:
        """An exception that was not foreseen: a line that has no outcome yet ends with an error."""
        batch = work.shard.lease.shard.batch
        report_unforeseen("call", "Line %d of %s failed", work.line.line, batch, batch_id=batch)
        if self._runners[task] is None:
            return
        self._runners[task] = None
        self.circuit.gave_up(trial=work.trial)
        work.shard.record(
            not_answered(
                batch,
                work.line.line,
                work.line.custom_id,
                code="internal_error",
                message="The gateway could not process this request or its answer.",
            )
        )

    def _settle(self, task: asyncio.Task[None], work: LineInFlight, ended: AttemptResult) -> None:
        """The line first: what is counted afterwards cannot cost its result."""
        now = self._now()
        if not self._judge_endpoint(work, ended, now):
            ended = of_the_request(ended)
        if ended.result is not None:
            ended.result.call = work.call_record(ended.first_token_ms, now)
            work.shard.record(ended.result)
        else:
            work.retried(ended.cause)
            work.shard.wait(work, self.route.pool, now, ended.pause.total_seconds())
        self._runners[task] = None
        self._count(work, ended, now)
        meters.call_ended(
            ended.verdict.outcome,
            ended.result,
            model=work.line.model,
            seconds=now - work.started_at,
            first_token_ms=ended.first_token_ms,
            trace_id=ended.trace_id,
        )

    def _judge_endpoint(self, work: LineInFlight, ended: AttemptResult, now: float) -> bool:
        """Returns whether the outcome is evidence about the endpoint; False: the call failed,
        but only those of this batch or line do."""
        batch, verdict = work.shard.batch, ended.verdict
        match verdict.alive:
            case True:
                self.circuit.answered(admitted_at=work.started_at if verdict.admitted else None)
                if verdict.outcome is not CallOutcome.DROPPED:
                    self.circuit.batch_answered(batch, now)
            case False:
                failed_before, work.failed_call_at = work.failed_call_at, now
                if not self.circuit.batch_failed(
                    batch, now, started_at=work.started_at, failed_before=failed_before
                ):
                    self.circuit.gave_up(trial=work.trial)
                    return False
                self.circuit.failed(
                    now,
                    trial=work.trial,
                    retry_after=ended.retry_after,
                    reason=ended.reason,
                    unauthorized=verdict.unauthorized,
                )
            case None:
                self.circuit.gave_up(trial=work.trial)
        return True

    def _count(self, work: LineInFlight, ended: AttemptResult, now: float) -> None:
        """Report the outcome; a slot that was refused is not used again before the next sync."""
        took = now - work.started_at
        if self.outcomes.count(ended, now, took, trial=work.trial, slots=self._granted):
            self.grant = max(0, self.grant - 1)

    def _time_for(self, shard: LeasedShard) -> tuple[timedelta, bool]:
        """How long a call may take now, and whether that is less than its route allows."""
        now = self._now()
        allowed = self.route.endpoint.timeout.total_seconds()
        seconds = max(0.0, min(self._stop_calls_at - now, shard.stop_at - now, allowed))
        return timedelta(seconds=seconds), seconds < allowed
