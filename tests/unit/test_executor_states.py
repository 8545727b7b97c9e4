"""The whole executor in memory, with stores and an engine that misbehave at random.

Whatever happens - odd answers, exceptions, calls that are cancelled before their first step, leases
that are lost, stores that fail, clocks that jump - every line ends exactly once, and nothing leaks:
no call, no slot, no lease, no task, no trial of a circuit.
"""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_gateway.core.errors import NotFound, Unavailable
from batch_gateway.core.ids import ActivationId, BatchId, TenantId
from batch_gateway.core.lines import ShardLine, encode_shard_lines
from batch_gateway.core.model import (
    Batch,
    BatchStatus,
    ClosedShard,
    Lease,
    QueueEntry,
    ResultTally,
    Shard,
    ShardState,
)
from batch_gateway.core.prices import PriceList
from batch_gateway.ports.coordination import SlotGrant
from batch_gateway.ports.model_client import CallFailed, CallRefused, ModelResponse
from batch_gateway.ports.shard_queue import QueueDepth
from batch_gateway.ports.shards import LeaseStatus
from batch_gateway.services.collaborators import EventSenders, Stores
from batch_gateway.services.execute.activation import Activation
from batch_gateway.services.execute.attempt import ModelCaller
from batch_gateway.services.execute.circuit import EndpointCircuits
from batch_gateway.services.execute.collaborators import (
    EngineClients,
    ExecutorDependencies,
    ExecutorPolicies,
    ProcessResources,
    StopRequests,
)
from batch_gateway.services.execute.engine_monitor import EngineMonitors
from batch_gateway.services.progress_events import BatchObservers
from batch_gateway.services.results.parts import read_recorded
from batch_gateway.services.routing import SingleEndpointRouteProvider
from batch_gateway.settings import (
    EngineMonitorSettings,
    ExecutionSettings,
    InferenceSettings,
    QueueSettings,
    RetrySettings,
)

BATCH = BatchId("batch_1")
DEADLINE = datetime(2040, 1, 1, tzinfo=UTC)
SHARDS, LINES = 4, 6
RULES = ExecutionSettings(
    complete_bytes=0,
    heartbeat_s=0.02,
    flush_interval_s=0.01,
    slot_sync_s=0.01,
    slot_ttl_s=2,
    idle_exit_s=0.1,
    lease_ttl_s=2,
    term_grace_s=0.05,
)


@dataclass
class Memory:
    """Database, file store and coordination store in one; ``down`` makes all of them fail."""

    shards: dict[int, Shard] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    ready: list[int] = field(default_factory=list)
    down: int = 0  # operations that fail from now on
    slots: int = 3
    holders: set[str] = field(default_factory=set)
    shown: list[int] = field(default_factory=list)

    def touch(self) -> None:
        if self.down:
            self.down -= 1
            raise Unavailable("down")

    # -- files ------------------------------------------------------------------------------

    async def put(self, key: str, content: Any) -> int:
        await asyncio.sleep(0)
        self.touch()
        self.blobs[key] = bytes(content)
        return len(content)

    async def read(self, key: str, **_: Any) -> Any:
        await asyncio.sleep(0)
        self.touch()
        if key not in self.blobs:
            raise NotFound(key)
        yield self.blobs[key]

    # -- rows -------------------------------------------------------------------------------

    def batch(self) -> Batch:
        return Batch(
            id=BATCH,
            tenant=TenantId("t"),
            status=BatchStatus.IN_PROGRESS,
            endpoint="/v1/chat/completions",
            input_file_id="file-1",
            completion_window="24h",
            deadline=DEADLINE,
            created_at=datetime(2030, 1, 1, tzinfo=UTC),
        )

    def held(self, ref: Any) -> Shard | None:
        shard = self.shards[int(ref.shard.rsplit(".", 1)[1])]
        same = (shard.epoch, shard.token) == (ref.epoch, ref.token)
        return shard if same and shard.state is ShardState.LEASED else None

    async def claim(self, name: str, *, holder: str, token: str, now: datetime) -> Lease | None:
        await asyncio.sleep(0)
        self.touch()
        index = int(name.rsplit(".", 1)[1])
        shard = self.shards[index]
        if shard.state is not ShardState.READY:
            return None
        shard = replace(
            shard, state=ShardState.LEASED, epoch=shard.epoch + 1, token=token, holder=holder
        )
        self.shards[index] = shard
        return Lease(
            shard=shard,
            tenant=TenantId("t"),
            deadline=DEADLINE,
            priority=5,
            options={},
            traceparent=None,
            time_left=timedelta(hours=1),
        )

    def _store(self, ref: Any, state: ShardState, parts: Any, tally: ResultTally) -> bool:
        shard = self.held(ref)
        if shard is None:
            return False
        kept = shard.tally.at_least(tally)
        self.shards[shard.index] = replace(shard, state=state, parts=tuple(parts), tally=kept)
        self.shown.append(sum(one.tally.completed for one in self.shards.values()))
        return True

    async def finish(
        self, ref: Any, parts: Any, tally: ResultTally, **_: Any
    ) -> ClosedShard | None:
        await asyncio.sleep(0)
        self.touch()
        if not self._store(ref, ShardState.CLOSED, parts, tally):
            return None
        return ClosedShard(batch=self.batch(), last=False)

    async def release(self, *args: Any, **named: Any) -> Any:
        if len(args) == 1:  # of the queue
            return await self._push(args[0])
        await asyncio.sleep(0)
        self.touch()
        return self._store(args[0], ShardState.READY, args[1], args[2])

    async def checkpoint(self, tallies: Any) -> list[Batch]:
        self.touch()
        for ref, tally in tallies.items():
            if (shard := self.held(ref)) is not None:
                self._store(ref, ShardState.LEASED, shard.parts, tally)
        return []

    async def standings(self, refs: Any) -> list[LeaseStatus]:
        self.touch()
        return [
            LeaseStatus(
                lease=ref,
                held=self.held(ref) is not None,
                ready=self.shards[int(ref.shard.rsplit(".", 1)[1])].state is ShardState.READY,
                paused=False,
                ending=False,
                deadline=DEADLINE,
                time_left=timedelta(hours=1),
            )
            for ref in refs
        ]

    # -- scratch ----------------------------------------------------------------------------

    async def _push(self, entry: QueueEntry) -> None:
        self.touch()
        self.ready.append(int(entry.shard.rsplit(".", 1)[1]))

    async def propose(self, *, avoid: Any = (), **_: Any) -> QueueEntry | None:
        self.touch()
        if not self.ready or "m" in avoid:
            return None
        shard = self.shards[self.ready.pop(0)]
        return QueueEntry(
            shard=shard.id, tenant=TenantId("t"), model="m", cost=1, priority=5, deadline=DEADLINE
        )

    async def lease(self, *_: Any) -> None: ...
    async def renew(self, *_: Any) -> None: ...
    async def complete(self, *_: Any) -> None: ...
    async def expired(self, _: int) -> list[Any]:
        return []

    async def depth(self) -> QueueDepth:
        leased = sum(shard.state is ShardState.LEASED for shard in self.shards.values())
        return QueueDepth(ready=len(self.ready), leased=leased, reserved=0)

    async def sync(self, holder: str, reports: Any, *, ttl: timedelta) -> dict[str, SlotGrant]:
        self.touch()
        self.holders |= set(reports)
        return {
            name: SlotGrant(
                slots=min(report.want, self.slots), limit=self.slots, free=0, generation="g"
            )
            for name, report in reports.items()
        }

    async def leave(self, holder: str, pools: Any = ()) -> None:
        self.holders -= set(pools)

    async def leave_unless_last(self, *_: Any) -> bool:
        return True

    @asynccontextmanager
    async def listen(self) -> Any:
        async def never() -> Any:
            await asyncio.Event().wait()
            yield BATCH

        yield never()

    async def nothing(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}

    async def generation(self) -> tuple[str, timedelta]:
        return "g", timedelta(hours=1)

    async def once(self, *_: Any) -> bool:
        return True

    async def take(self, *_: Any) -> Any:
        return SimpleNamespace(passed=True)


GOOD = msgspec.json.encode({"id": "x", "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
ANSWERS = {
    "good": ModelResponse(status=200, body=GOOD, request_id=None, retry_after=None),
    "full": ModelResponse(status=429, body=b"{}", request_id=None, retry_after=timedelta(0)),
    "away": ModelResponse(status=503, body=b"", request_id=None, retry_after=None),
    "broken": ModelResponse(status=500, body=b"\xff\x00", request_id=None, retry_after=None),
    "odd": ModelResponse(
        status=200, body=b"NaN", request_id=None, retry_after=timedelta(days=9999)
    ),
    "own fault": ModelResponse(status=404, body=b"[]", request_id=None, retry_after=None),
}
FAULTS = {
    "refused": CallRefused("nobody there"),
    "cut": CallFailed("reset"),
    "unforeseen": OverflowError("not foreseen"),
}


class Engine:
    def __init__(self, script: list[str]) -> None:
        self.script = script
        self.open = 0

    async def call(self, *_: Any) -> ModelResponse:
        what = self.script.pop(0) if self.script else "good"
        self.open += 1
        try:
            await asyncio.sleep(0.01)
            if what == "slow":
                await asyncio.sleep(0.05)
            if what in FAULTS:
                raise type(FAULTS[what])("as told")
            return ANSWERS.get(what, ANSWERS["good"])
        finally:
            self.open -= 1


def new_memory() -> Memory:
    memory = Memory()
    for index in range(SHARDS):
        key = f"lines-{index}"
        memory.blobs[key] = encode_shard_lines(
            ShardLine(index * LINES + n + 1, f"c{n}", "/v1/x", "m", msgspec.Raw(b'{"model":"m"}'))
            for n in range(LINES)
        )
        memory.shards[index] = Shard(
            batch=BATCH, index=index, model="m", key=key, lines=LINES, cost=LINES
        )
        memory.ready.append(index)
    return memory


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Stage:
    """Activations one after the other in one process, on the same memory."""

    def __init__(self, script: list[str]) -> None:
        self.memory, self.engine, self.clock = new_memory(), Engine(script), Clock()
        self.circuits = EndpointCircuits()
        self.routes = SingleEndpointRouteProvider(InferenceSettings(url="http://engine"))
        memory: Any = self.memory
        nothing = memory.nothing
        self.coordination: Any = SimpleNamespace(
            queue=SimpleNamespace(
                **{
                    name: getattr(memory, name)
                    for name in ("propose", "lease", "renew", "release", "complete", "expired")
                },
                depth=memory.depth,
                discard=nothing,
                waiting=nothing,
                urge=nothing,
            ),
            slots=memory,
            activations=SimpleNamespace(
                renew=nothing, leave=nothing, leave_unless_last=memory.leave_unless_last
            ),
            batch_changes=memory,
            throughput=SimpleNamespace(
                report=nothing, block=nothing, of_batches=nothing, of_models=nothing
            ),
            rate_limiter=memory,
            generation=memory.generation,
            once=memory.once,
        )

    def activation(self, stopping: asyncio.Event) -> Activation:
        watching = EngineMonitorSettings(metrics=False, probe=False)
        retry = RetrySettings(attempts=3, backoff_s=0.001, backoff_max_s=0.002)
        client: Any = self.engine
        silent: Any = SimpleNamespace(
            publish=self.memory.nothing,
            wake=self.memory.nothing,
            expire=self.memory.nothing,
            reclaim=self.memory.nothing,
        )
        return Activation(
            ActivationId("me"),
            ExecutorDependencies(
                stores=Stores(
                    metadata=SimpleNamespace(shards=self.memory),  # type: ignore[arg-type]
                    files=self.memory,  # type: ignore[arg-type]
                    coordination=self.coordination,
                ),
                engines=EngineClients(
                    client=client, metrics=client, routes=self.routes, header_passthrough=None
                ),
                events=EventSenders(
                    publisher=silent, activation_trigger=silent, webhook_outbox=silent
                ),
                termination=silent,
                policies=ExecutorPolicies(
                    execution=RULES,
                    queue=QueueSettings(),
                    retry=retry,
                    watching=watching,
                    prices=PriceList(),
                    clock=self.clock,
                    output_expiry=None,
                ),
            ),
            shared=ProcessResources(
                attempts=ModelCaller(client, retry, budget_s=RULES.hard_budget_s),
                circuits=self.circuits,
                monitors=EngineMonitors(client, client, watching),
                watches=BatchObservers([]),
            ),
            stop_requests=StopRequests(stopping=stopping, superseded=asyncio.Event()),
        )

    def happen(self, event: str, at: int, activation: Activation) -> None:
        memory = self.memory
        if event == "lose":  # another executor takes the shard and hands it back
            shard = memory.shards[at % SHARDS]
            if shard.state is ShardState.LEASED:
                memory.shards[shard.index] = replace(
                    shard, state=ShardState.READY, epoch=shard.epoch + 1, token="other"
                )
                memory.ready.append(shard.index)
        elif event == "cancel":  # among others calls that have not taken their first step
            for pool in activation._components.pools:
                pool.abort()
        elif event == "start and cancel":
            for pool in activation._components.pools:
                pool.grant = pool.in_use + 2
                pool.start()
                pool.start()
                pool.abort()
        elif event == "down":
            memory.down = at
        elif event == "clock":
            self.clock.ahead += timedelta(hours=at - 5)
        elif event == "slots":
            memory.slots = at % 4

    async def play(self, events: list[tuple[str, int]]) -> None:
        stopping = asyncio.Event()
        activation = self.activation(stopping)
        running = asyncio.create_task(activation.run())
        for event, at in events:
            await asyncio.sleep(0.003)
            if running.done():
                break
            self.happen(event, at, activation)
        self.memory.down, self.memory.slots = 0, 3
        async with asyncio.timeout(45):
            await running
        self.assert_nothing_leaks(activation)

    def assert_nothing_leaks(self, activation: Activation) -> None:
        assert self.engine.open == 0
        assert activation._components.renewer.tracked == 0
        assert list(activation._components.pools) == []
        assert self.memory.holders == set()
        assert len(activation._components.shards) == 0
        assert len(asyncio.all_tasks()) == 1
        for _, circuit in self.circuits._circuits.values():
            assert circuit.allows(asyncio.get_running_loop().time() + 60)

    async def to_the_end(self) -> None:
        """Without any more trouble the work ends."""
        self.engine.script.clear()
        async with asyncio.timeout(45):
            while any(one.state is not ShardState.CLOSED for one in self.memory.shards.values()):
                for shard in self.memory.shards.values():  # a sweep finds what is in no queue
                    if shard.state is ShardState.READY and shard.index not in self.memory.ready:
                        self.memory.ready.append(shard.index)
                    assert shard.state is not ShardState.LEASED
                await self.play([])

    async def ended_lines(self) -> Counter[int]:
        found = Counter[int]()
        for shard in self.memory.shards.values():
            files: Any = self.memory
            found.update((await read_recorded(files, shard.parts)).lines.keys())
        return found


answers = st.sampled_from(["good", "good", "slow", *ANSWERS, *FAULTS])
events = st.tuples(
    st.sampled_from(
        ["wait", "wait", "lose", "cancel", "start and cancel", "down", "clock", "slots"]
    ),
    st.integers(0, 10),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(script=st.lists(answers, max_size=60), events=st.lists(events, max_size=30))
def test_every_line_ends_exactly_once_and_nothing_leaks(script, events):
    async def play() -> None:
        stage = Stage(list(script))
        await stage.play(events)
        await stage.to_the_end()

        assert await stage.ended_lines() == Counter(range(1, SHARDS * LINES + 1))
        assert stage.memory.shown == sorted(stage.memory.shown)  # counts never fall

    asyncio.run(play())
