"""Lines that kill their worker: found, reported, and the rest continues."""

import asyncio
import json
import os
import signal
from collections import Counter
from datetime import timedelta

from fixtures.worker import spawn_worker
from fixtures.world import chat_lines

from batch_gateway.adapters.local_files import LocalFiles
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.ids import ActivationId, TenantId
from batch_gateway.core.model import BatchStatus
from batch_gateway.services.collaborators import Stores
from batch_gateway.services.execute.lease_renewer import LeaseRenewer
from batch_gateway.services.execute.lease_state import LeaseState
from batch_gateway.services.execute.leased_shard import ActivationSignals, LeasedShard
from batch_gateway.services.execute.shard_leases import ShardLeases
from batch_gateway.services.execute.suspect_isolation import SuspectIsolation
from batch_gateway.services.progress_events import BatchObservers
from batch_gateway.settings import EngineMonitorSettings, ExecutionSettings, PlanningSettings

RULES = ExecutionSettings(
    lease_ttl_s=0.6, heartbeat_s=0.2, idle_exit_s=0.3, flush_interval_s=0.1, slot_ttl_s=1
)
UNWATCHED = EngineMonitorSettings(probe=False, abort=False)


class Killer:
    """Endpoint behaviour: a request that names the poison kills the worker that sent it."""

    def __init__(self) -> None:
        self.worker: asyncio.subprocess.Process | None = None

    async def __call__(self, arrival):
        if b"POISON" not in arrival.body:
            await asyncio.sleep(0.02)
            return
        os.kill(self.worker.pid, signal.SIGKILL)


async def reclaimed(world):
    """Wait until what a dead worker held is ready again."""
    async with asyncio.timeout(45):
        while (await world.coordination.queue.depth()).leased:
            await asyncio.sleep(0.1)
            await world.janitor.sweep()


async def run_through(world, killer, sink, batches, *, workers):
    """Start worker after worker, as a platform does, until the batches are executed."""
    deaths = 0
    for _ in range(workers):
        killer.worker = await spawn_worker(world, sink=sink)
        deaths += await killer.worker.wait() == -signal.SIGKILL
        await reclaimed(world)
        if all([(await world.reload(batch)).assemblable for batch in batches]):
            break
    return deaths


async def test_a_line_that_kills_its_workers_is_reported_and_the_rest_goes_on(
    make_world, start_endpoint
):
    killer, sink = Killer(), await start_endpoint()
    endpoint = await start_endpoint()
    endpoint.answer = killer
    world = make_world(
        watching=UNWATCHED, execution=RULES, planning=PlanningSettings(shard_lines=20)
    )
    world.inference_url = endpoint.url
    lines = chat_lines(50)
    lines[25]["body"]["messages"][1]["content"] = "POISON"
    batch = await world.submit(lines)
    other = await world.submit(chat_lines(40), tenant=TenantId("other"))
    for one in (batch, other):
        await world.planner.plan(one.id)

    deaths = await run_through(world, killer, sink.url, [batch, other], workers=7)

    for one in (batch, other):
        await world.assembler.assemble(one.id)
    batch, other = await world.reload(batch), await world.reload(other)
    output, errors = await world.results(batch)
    assert batch.status is other.status is BatchStatus.COMPLETED
    assert {line["custom_id"] for line in output} == {f"line-{n}" for n in range(1, 51) if n != 26}
    assert [error["custom_id"] for error in errors] == ["line-26"]
    assert errors[0]["response"] is None
    assert errors[0]["error"] == {
        "code": "worker_crashed",
        "message": "Three workers died while they ran this request, the last one while it ran no"
        " other.",
    }
    assert (other.counts.completed, other.counts.failed) == (40, 0)
    assert deaths == 4  # once unawares, once among others, once as the one suspect, once alone
    calls = Counter(arrival.body for arrival in endpoint.arrivals)
    # A worker that stands still for longer than its slots live gives its calls back.
    assert max(calls.values()) <= 2 * deaths


async def test_a_worker_that_dies_for_another_reason_accuses_nobody(make_world, start_endpoint):
    endpoint = await start_endpoint()

    async def slow(arrival):
        await asyncio.sleep(0.02)

    endpoint.answer = slow
    world = make_world(watching=UNWATCHED, execution=RULES)
    world.inference_url = endpoint.url
    batch = await world.submit(chat_lines(60))
    await world.planner.plan(batch.id)

    for _ in range(3):
        seen = len(endpoint.arrivals)
        working = asyncio.create_task(world.work())
        while len(endpoint.arrivals) < seen + 10:
            await asyncio.sleep(0.01)
        working.cancel()  # nothing is handed back
        await asyncio.wait([working])
        await reclaimed(world)
    await world.work()

    batch = await world.reload(batch)
    assert (batch.counts.completed, batch.counts.failed) == (60, 0)


async def test_lines_whose_note_was_not_stored_are_no_suspects(make_world, tmp_path):
    class Away(LocalFiles):
        away = False

        async def put(self, key, chunks):
            if self.away:
                raise Unavailable("the file store is away")
            return await super().put(key, chunks)

    world, files = make_world(), Away(tmp_path / "files")
    batch = await world.submit(chat_lines(5))
    await world.planner.plan(batch.id)
    leases = ShardLeases(
        ActivationId("me"),
        stores=Stores(metadata=world.metadata, files=files, coordination=world.coordination),
        renewer=LeaseRenewer(world.coordination.queue, ttl=timedelta(seconds=9), every_s=3),
        publisher=world.publisher,
        header_passthrough=None,
        watch=BatchObservers([]),
        clock=world.clock,
        rules=world.execution,
    )

    async def opened() -> LeasedShard:
        claimed = await leases.acquire(world.coordination.queue.propose)
        shard = LeasedShard(
            claimed.lease,
            claimed.entry,
            signals=ActivationSignals(),
            isolation=SuspectIsolation(),
            stop_at=float("inf"),
            most_buffered=1000,
        )
        assert await leases.open(shard)
        shard.move(LeaseState.RUNNING)
        return shard

    await leases.release(await opened())
    again = await opened()  # from now on lines are noted before they start
    files.away = True
    await leases.flush(again)
    files.away = False
    await leases.release(again)

    assert not (await opened()).suspicious


async def test_lines_that_were_handed_back_are_no_suspects(make_world, start_endpoint):
    endpoint = await start_endpoint()

    async def slow(arrival):
        await asyncio.sleep(0.2)

    endpoint.answer = slow
    batch = None
    for _ in range(4):  # each activation has to stop in the midst of its calls
        world = make_world(
            watching=UNWATCHED,
            execution=ExecutionSettings(term_grace_s=0.01, flush_interval_s=0.05, soft_budget_s=20),
        )
        world.inference_url = endpoint.url
        if batch is None:
            batch = await world.submit(chat_lines(300))
            await world.planner.plan(batch.id)
        seen = len(endpoint.arrivals)
        working = asyncio.create_task(world.work())
        while len(endpoint.arrivals) == seen:
            await asyncio.sleep(0.01)
        world.stopping.set()
        await working

    endpoint.answer = None
    world = make_world(watching=UNWATCHED)
    world.inference_url = endpoint.url
    await world.work()

    assert (await world.reload(batch)).counts.completed == 300
    assert endpoint.most_open > 1
    ids = [json.loads(arrival.body)["messages"][1]["content"] for arrival in endpoint.arrivals]
    assert len(set(ids)) == 300
