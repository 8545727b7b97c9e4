"""What is broken for one shard, batch, tenant, model or call keeps no other from continuing."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from aiohttp import web
from fixtures.redis import free_port
from fixtures.world import TENANT, chat_lines

from batch_gateway.adapters.local_files import LocalFiles
from batch_gateway.adapters.routing_file import RoutingFile
from batch_gateway.core.errors import CorruptRow, Unavailable
from batch_gateway.core.ids import TenantId
from batch_gateway.core.layout import lease_ref
from batch_gateway.core.model import BatchStatus, ShardState
from batch_gateway.services.results import lost_objects
from batch_gateway.services.results.parts import read_blob
from batch_gateway.settings import (
    EngineMonitorSettings,
    ExecutionSettings,
    PlanningSettings,
    RetrySettings,
)

pytestmark = pytest.mark.redis

UNWATCHED = EngineMonitorSettings(metrics=False, probe=False)
BRISK = ExecutionSettings(complete_bytes=0, heartbeat_s=0.2, flush_interval_s=0.1, idle_exit_s=0.5)


async def planned(world, lines, **options):
    batch = await world.submit(lines, **options)
    await world.planner.plan(batch.id)
    return batch


@asynccontextmanager
async def working(world):
    """One activation at work, ended with the context."""
    task = asyncio.create_task(world.work())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition, seconds=30):
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


def executed(world, batch):
    async def is_executed():
        found = await world.reload(batch)
        return found.assemblable or found.terminal

    return is_executed


async def shards_of(world, batch):
    return [shard async for shard in world.metadata.shards.of_batch(batch.id)]


async def ended(world, batch):
    """The batch with its results, after assembly."""
    await world.assembler.assemble(batch.id)
    batch = await world.reload(batch)
    return batch, *(await world.results(batch))


class Slow(LocalFiles):
    """A store of which single objects fail or take long."""

    def __init__(self, root):
        super().__init__(root)
        self.fails = {}  # part of a key -> how many reads of it fail
        self.delay_s = 0.0

    def read(self, key, **span):
        return self._read(key, **span)

    async def _read(self, key, **span):
        await asyncio.sleep(self.delay_s)
        for part, left in self.fails.items():
            if part in key and left:
                self.fails[part] -= 1
                raise Unavailable("503 SlowDown")
        async for chunk in super().read(key, **span):
            yield chunk


# -- shards that cannot be read ------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["gone", "no JSON"])
async def test_an_unreadable_shard_ends_in_error_lines_and_all_others_go_on(
    make_world, damage, monkeypatch
):
    monkeypatch.setattr(lost_objects, "APART", timedelta(milliseconds=50))
    world = make_world(planning=PlanningSettings(shard_lines=10), execution=BRISK)
    broken, healthy = await planned(world, chat_lines(30)), await planned(world, chat_lines(30))
    shard = (await shards_of(world, broken))[1]
    content = await read_blob(world.files, shard.key)
    if damage == "gone":
        await world.files.delete(shard.key)
    else:
        await world.files.delete(shard.key)
        await world.files.put(shard.key, b"\x00damaged\n")

    await world.work()

    healthy, output, errors = await ended(world, healthy)
    assert (healthy.status, len(output), len(errors)) == (BatchStatus.COMPLETED, 30, 0)
    broken, output, errors = await ended(world, broken)
    assert (broken.status, len(output), len(errors)) == (BatchStatus.COMPLETED, 20, 10)
    assert (broken.counts.completed, broken.counts.failed) == (20, 10)
    names = sorted(json.loads(raw)[1] for raw in content.splitlines())
    assert sorted(line["custom_id"] for line in errors) == names
    assert {line["error"]["code"] for line in errors} == {"result_lost"}
    assert len([call for call in await world.arrivals() if not call["aborted"]]) == 50


async def test_a_lost_part_costs_its_lines_another_call_and_nothing_else(make_world, monkeypatch):
    monkeypatch.setattr(lost_objects, "APART", timedelta(milliseconds=50))
    rules = ExecutionSettings(flush_interval_s=0.05, term_grace_s=0.1)
    world = make_world(execution=rules)
    await world.configure(ttft_ms=200, slots=4)
    batch = await planned(world, chat_lines(200))
    async with working(world) as first:
        await until(lambda: parts_of(world, batch))
        world.stopping.set()
        await first
    [shard] = await shards_of(world, batch)
    assert shard.state is ShardState.READY
    assert shard.parts
    await world.files.delete(shard.parts[0].key)
    await world.configure(ttft_ms=0, slots=64)

    await make_world(execution=BRISK).work()

    batch, output, errors = await ended(world, batch)
    assert (batch.counts.completed, len(output), len(errors)) == (200, 200, 0)


async def test_shards_that_wait_for_missing_objects_keep_no_other_batch_waiting(make_world):
    """More of them than leases: until they count as lost, nothing else may stand still."""
    world = make_world(
        planning=PlanningSettings(shard_lines=64),
        execution=ExecutionSettings(max_leases=4, flush_interval_s=0.1),
    )
    broken = await planned(world, chat_lines(12 * 64))
    for shard in await shards_of(world, broken):
        await world.files.delete(shard.key)
    async with working(world):
        await until(lambda: has_leases(world, 5))
        healthy = await planned(world, chat_lines(5), tenant=TenantId("other"))

        await until(executed(world, healthy))

    assert {s.state for s in await shards_of(world, broken)} <= {"ready", "leased"}


async def test_small_shards_count_as_parts_of_the_leases(make_world):
    """A few short batches whose calls take long leave slots free: others are leased for them."""
    world = make_world(
        execution=ExecutionSettings(max_leases=1, flush_interval_s=0.1), watching=UNWATCHED
    )
    await world.configure(ttft_ms=60_000, slots=64)
    for _ in range(6):
        await planned(world, chat_lines(1))

    async with working(world):
        await until(lambda: has_leases(world, 6))


async def parts_of(world, batch):
    return [b async for b in world.files.list(f"work/{batch.id}/") if "/parts/" in b.key]


async def test_one_failed_read_costs_a_moment(make_world, tmp_path):
    world = make_world(execution=BRISK)
    world.files = Slow(tmp_path / "files")
    batch = await planned(world, chat_lines(5))
    [shard] = await shards_of(world, batch)
    world.files.fails[shard.key] = 1

    async with asyncio.timeout(45):
        await world.work()

    assert (await world.reload(batch)).counts.completed == 5
    assert [shard.epoch for shard in await shards_of(world, batch)] == [1]


async def test_a_shard_that_cannot_be_opened_now_is_in_the_queue_again_at_once(
    make_world, tmp_path
):
    world = make_world(execution=BRISK)
    world.files = Slow(tmp_path / "files")
    batch = await planned(world, chat_lines(5))
    [shard] = await shards_of(world, batch)
    world.files.fails[shard.key] = 3

    async with asyncio.timeout(45):
        await world.work()  # no janitor comes

    assert (await world.reload(batch)).counts.completed == 5
    assert [shard.epoch for shard in await shards_of(world, batch)] == [2]


# -- leases ----------------------------------------------------------------------------------------


async def test_a_lease_is_kept_while_its_shard_is_opened_slowly(make_world, tmp_path):
    """Opening takes several lives of a lease; another executor looks for dead leases meanwhile."""
    rules = ExecutionSettings(
        complete_bytes=0,
        lease_ttl_s=0.6,
        heartbeat_s=0.2,
        idle_exit_s=0.3,
        flush_interval_s=0.1,
        slot_ttl_s=1,
    )
    world = make_world(execution=rules)
    slow = Slow(tmp_path / "files")
    batch = await planned(world, chat_lines(5))
    slow.delay_s = 3.0
    world.files = slow
    other = make_world(execution=rules)

    async with working(world) as first:
        await until(lambda: leased(world, batch))
        while not first.done() and (await shards_of(world, batch))[0].epoch == 1:
            await other.termination.reclaim(await other.coordination.queue.expired(10))
            await asyncio.sleep(0.1)
            if not (await world.reload(batch)).open_shards:
                break

    assert [shard.epoch for shard in await shards_of(world, batch)] == [1]
    assert (await world.reload(batch)).counts.completed == 5


async def leased(world, batch):
    return (await shards_of(world, batch))[0].state is ShardState.LEASED


async def test_leases_are_kept_while_an_executor_slowly_reclaims_another_one(make_world, tmp_path):
    rules = ExecutionSettings(
        complete_bytes=0,
        lease_ttl_s=0.6,
        heartbeat_s=0.2,
        flush_interval_s=0.05,
        idle_exit_s=0.3,
        slot_ttl_s=1,
    )
    world = make_world(execution=rules, watching=UNWATCHED)
    await world.configure(ttft_ms=200, slots=4)
    left = await planned(world, chat_lines(100))
    async with working(world):
        await until(lambda: parts_of(world, left))
    [dead] = await shards_of(world, left)
    await world.configure(ttft_ms=60_000, slots=64)
    other = make_world(execution=rules, watching=UNWATCHED)
    other.files = slow = Slow(tmp_path / "files")
    held = await planned(world, chat_lines(4))

    async with working(other):
        await until(lambda: leased(world, held))
        slow.delay_s = 2.0  # for each part
        looks = 0
        async with asyncio.timeout(60):
            while lease_ref(dead) in await leases_of(world, left):
                await asyncio.sleep(0.02)
            while "reclaimer" in [shard.holder for shard in await shards_of(world, left)]:
                silent = await world.coordination.queue.expired(10)
                assert [ref for ref in silent if ref.shard.startswith(held.id)] == []
                looks += 1
                await asyncio.sleep(0.02)
        assert looks > 0

        assert [shard.epoch for shard in await shards_of(world, held)] == [1]


async def leases_of(world, batch):
    return [lease_ref(shard) for shard in await shards_of(world, batch)]


async def test_leases_live_on_while_the_database_is_away(make_world, monkeypatch):
    rules = ExecutionSettings(
        complete_bytes=0, lease_ttl_s=0.6, heartbeat_s=0.2, idle_exit_s=0.3, slot_ttl_s=1
    )
    world = make_world(execution=rules, watching=UNWATCHED)
    await world.configure(ttft_ms=3000)
    batch = await planned(world, chat_lines(4))
    async with working(world) as first:
        await until(lambda: leased(world, batch))

        async def away(*_):
            raise Unavailable("the database does not answer")

        monkeypatch.setattr(world.metadata.shards, "standings", away)
        monkeypatch.setattr(world.metadata.shards, "ready", away)
        for _ in range(20):
            assert not await world.coordination.queue.expired(10)
            await asyncio.sleep(0.1)
        monkeypatch.undo()
        await first

    assert [shard.epoch for shard in await shards_of(world, batch)] == [1]
    assert (await world.reload(batch)).counts.completed == 4


async def test_a_clock_that_is_ahead_neither_expires_a_batch_nor_leases_again_and_again(make_world):
    world = make_world(execution=BRISK)
    await world.configure(ttft_ms=300)
    batch = await planned(world, chat_lines(5), window=timedelta(seconds=15))
    world.clock.ahead = timedelta(seconds=20)

    await world.work()

    assert [shard.epoch for shard in await shards_of(world, batch)] == [1]
    assert (await world.reload(batch)).counts.completed == 5


# -- endpoints -------------------------------------------------------------------------------------


async def test_twelve_tenants_of_a_dead_endpoint_keep_no_other_model_waiting(
    make_world, start_endpoint, tmp_path
):
    alive = await start_endpoint()
    (tmp_path / "routes.yaml").write_text(
        f"endpoints: {{dead: {{url: 'http://127.0.0.1:{free_port()}', "
        f"breaker: {{pause_s: 0.1, pause_max_s: 0.5}}}}, alive: {{url: {alive.url}}}}}\n"
        "models: {m: dead, n: alive}"
    )
    world = make_world(
        execution=BRISK,
        watching=UNWATCHED,
        retry=RetrySettings(backoff_s=0.05),
        routing=RoutingFile(tmp_path / "routes.yaml"),
    )
    for number in range(20):
        await planned(world, chat_lines(2, model="m"), tenant=TenantId(f"t{number}"))
    async with working(world):
        await until(lambda: has_leases(world, 1))
        healthy = await planned(world, chat_lines(40, model="n"))

        await until(executed(world, healthy))

        assert (await world.reload(healthy)).counts.completed == 40
        await until(lambda: has_leases_at_most(world, 1))  # all but one are handed back


async def has_leases(world, least):
    return len(await world.metadata.shards.leased(limit=100)) >= least


async def has_leases_at_most(world, most):
    return len(await world.metadata.shards.leased(limit=100)) <= most


async def test_many_tenants_of_a_stuck_endpoint_keep_no_other_model_waiting(
    make_world, start_endpoint, tmp_path
):
    stuck, alive = await start_endpoint(), await start_endpoint()

    async def hang(arrival):
        await asyncio.sleep(3600)

    stuck.answer = hang
    (tmp_path / "routes.yaml").write_text(
        f"endpoints: {{stuck: {{url: {stuck.url}}}, alive: {{url: {alive.url}}}}}\n"
        "models: {m: stuck, n: alive}"
    )
    world = make_world(
        execution=BRISK, watching=UNWATCHED, routing=RoutingFile(tmp_path / "routes.yaml")
    )
    for number in range(20):
        await planned(world, chat_lines(2, model="m"), tenant=TenantId(f"t{number}"))
    async with working(world):
        await until(lambda: has_leases(world, 8))
        healthy = await planned(world, chat_lines(40, model="n"))

        await until(executed(world, healthy))


async def test_a_line_that_waits_holds_no_slot(make_world, start_endpoint):
    """Case: one line is refused for ever, and the pool's limit falls to one."""
    endpoint = await start_endpoint()

    async def refuse_one(arrival):
        if b"Question 1? big" in arrival.body:
            return web.Response(status=429)
        return None

    endpoint.answer = refuse_one
    world = make_world(execution=BRISK, watching=UNWATCHED, retry=RetrySettings(backoff_s=0.2))
    world.inference_url = endpoint.url
    [big] = chat_lines(1)
    big["body"]["messages"][-1]["content"] = "Question 1? big"
    await planned(world, [big])
    async with working(world), working(make_world(execution=BRISK, watching=UNWATCHED)):
        await until(lambda: refused(endpoint, 6))
        good = await planned(world, chat_lines(1))

        await until(executed(world, good), seconds=15)


async def refused(endpoint, times):
    return len(endpoint.arrivals) >= times


# -- poison ----------------------------------------------------------------------------------------


async def test_suspects_run_one_at_a_time_while_all_other_work_goes_on(make_world, start_endpoint):
    """A shard that two workers died over is no reason to stop the others."""
    endpoint, release = await start_endpoint(), asyncio.Event()
    open_suspects = []

    async def hold_suspects(arrival):
        if b"SUSPECT" in arrival.body:
            open_suspects.append(arrival)
            assert len(open_suspects) == 1
            await release.wait()
            open_suspects.remove(arrival)

    endpoint.answer = hold_suspects
    world = make_world(
        execution=ExecutionSettings(
            lease_ttl_s=0.6, heartbeat_s=0.2, idle_exit_s=0.3, flush_interval_s=0.1, slot_ttl_s=1
        ),
        watching=UNWATCHED,
    )
    world.inference_url = endpoint.url
    lines = chat_lines(6)
    for line in lines:
        line["body"]["messages"][-1]["content"] += " SUSPECT"
    suspect = await planned(world, lines, tenant=TenantId("a"))
    for _ in range(2):  # two workers die with lines in flight, the first of them unnoted
        before = len(endpoint.arrivals)
        async with working(world):
            await until(lambda before=before: refused(endpoint, before + 1))
        open_suspects.clear()
        await until(lambda: reclaimed(world))
    async with working(world):
        before = len(endpoint.arrivals)
        await until(lambda: refused(endpoint, before + 1))
        others = await planned(world, chat_lines(60), tenant=TenantId("b"))

        await until(executed(world, others))

        assert len(open_suspects) == 1
        release.set()
        await until(executed(world, suspect))
    assert (await world.reload(suspect)).counts.completed == 6


async def reclaimed(world):
    await world.janitor.sweep()
    return not (await world.coordination.queue.depth()).leased


# -- calls -----------------------------------------------------------------------------------------


async def test_an_exception_that_was_not_foreseen_ends_one_line_only(
    make_world, start_endpoint, monkeypatch
):
    world = make_world(
        execution=BRISK, watching=UNWATCHED, retry=RetrySettings(backoff_s=0.01, attempts=2)
    )
    from batch_gateway.adapters.model_http import HttpModelClient

    call = HttpModelClient.call

    async def broken(self, url, body, *args, **options):
        if b"Question 3?" in body:
            raise OverflowError("a header that nobody expected")
        return await call(self, url, body, *args, **options)

    monkeypatch.setattr(HttpModelClient, "call", broken)
    batch = await planned(world, chat_lines(10))

    await world.work()

    batch, output, errors = await ended(world, batch)
    assert (batch.status, len(output)) == (BatchStatus.COMPLETED, 9)
    assert [line["error"]["code"] for line in errors] == ["internal_error"]


async def test_a_batch_in_trouble_leaves_no_lease_slot_or_activation_behind(make_world):
    world = make_world(execution=BRISK, watching=UNWATCHED)
    batch = await planned(world, chat_lines(20))

    await world.work()

    assert (await world.reload(batch)).counts.completed == 20
    assert await world.metadata.shards.leased(limit=10) == []
    assert all(pool.holders == 0 for pool in await world.coordination.slots.pools())
    assert await world.coordination.activations.count() == (0, 0)


# -- counts ----------------------------------------------------------------------------------------


async def test_counts_stay_through_pause_hand_back_and_a_wiped_scratch_server(make_world):
    world = make_world(execution=BRISK, watching=UNWATCHED)
    await world.configure(ttft_ms=200, slots=4)
    batch = await planned(world, chat_lines(800))
    shown = []

    async def at_least(count):
        found = (await world.batches.get(TENANT, batch.id)).counts.completed
        shown.append(found)
        return found >= count

    async with working(world) as first:
        await until(lambda: at_least(20))
        await world.wipe()
        await until(lambda: at_least(40))
        await world.metadata.batches.pause(TENANT, batch.id, True)
        await world.coordination.batch_changes.publish(batch.id)
        await first
    await at_least(0)
    await world.wipe()
    await at_least(0)
    await world.metadata.batches.pause(TENANT, batch.id, False)
    async with working(make_world(execution=BRISK, watching=UNWATCHED)):
        await world.janitor.sweep()
        await until(lambda: at_least(80))  # killed with results that are recorded
    await at_least(0)
    [ref] = [ref for ref, _ in await world.metadata.shards.leased(limit=10)]
    await world.termination.reclaim([ref])
    await at_least(0)
    await world.configure(ttft_ms=0, slots=64)
    await make_world(execution=BRISK, watching=UNWATCHED).work()
    await at_least(800)

    assert shown == sorted(shown)
    assert shown[-1] == 800


async def test_a_batch_whose_row_is_broken_keeps_no_other_batch_waiting(make_world):
    world = make_world(execution=BRISK, watching=UNWATCHED)
    broken = await planned(world, chat_lines(2))
    whole = await planned(world, chat_lines(2))
    async with world.metadata._database.writing() as connection:
        await connection.exec_driver_sql(
            f"UPDATE batches SET options = '[]' WHERE id = '{broken.id}'"
        )

    async with working(world):
        await until(executed(world, whole))

    with pytest.raises(CorruptRow):
        await world.reload(broken)
