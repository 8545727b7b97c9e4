"""Batches of one shard: completed by the executor that finishes the shard, whatever happens."""

import asyncio
from datetime import timedelta

import pytest
from fixtures.gateway import chat_lines
from fixtures.world import TENANT

from batch_gateway.core.batch_summary import BatchSummary
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.events import EventType
from batch_gateway.core.model import BatchStatus
from batch_gateway.settings import ExecutionSettings


@pytest.fixture
def world(make_world):
    """No part is stored before the last line has its result, however slow the machine is."""
    return make_world(execution=ExecutionSettings(flush_interval_s=60))


async def planned(world, content, **options):
    batch = await world.submit(content, **options)
    await world.planner.plan(batch.id)
    world.sink.take()
    return batch


def stored(world, prefix):
    async def keys():
        return [blob.key async for blob in world.files.list(prefix)]

    return keys()


async def unsent(world):
    found = await world.metadata.outbox.unsent(before=world.clock.now(), limit=9)
    return [row.event.type for row in found]


async def sent(world):
    """How many requests reached the model, and how many of these are different."""
    digests = [entry["digest"] for entry in await world.arrivals()]
    return len(digests), len(set(digests))


async def test_a_small_batch_is_completed_without_an_assembler(world):
    batch = await planned(world, chat_lines(20))

    await world.work()

    done = await world.reload(batch)
    assert done.status is BatchStatus.COMPLETED
    assert (done.counts.total, done.counts.completed, done.counts.failed) == (20, 20, 0)
    assert done.usage is not None
    assert done.usage.output_tokens > 0
    output, errors = await world.results(done)
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(1, 21)]
    assert errors == []
    assert world.sink.types() == [EventType.BATCH_COMPLETED]
    summary = BatchSummary.decoded(await world.metadata.batches.summary(batch.id))
    assert sum(summary.calls.calls.values()) == 20
    assert summary.models["sim-large"].completed == 20
    day = done.completed_at.date()
    [used] = await world.metadata.usage.between(day, day + timedelta(days=1), tenant=TENANT)
    assert (used.model, used.completed) == ("sim-large", 20)


async def test_nothing_is_left_of_its_work(world):
    batch = await planned(world, chat_lines(3))

    await world.work()

    assert await stored(world, "work/") == []
    assert await stored(world, "orders/") == []
    assert [shard async for shard in world.metadata.shards.of_batch(batch.id)] == []
    assert await world.metadata.batches.ended(limit=9) == []
    depth = await world.coordination.queue.depth()
    assert (depth.ready, depth.leased, depth.reserved) == (0, 0, 0)
    assert await unsent(world) == [EventType.BATCH_CREATED]  # which only the API sends


async def test_lines_that_fail_go_to_the_error_file(world):
    await world.configure(fault_rate=1.0, fault_kinds=["malformed"])
    batch = await planned(world, chat_lines(3))

    await world.work()

    done = await world.reload(batch)
    assert (done.counts.completed, done.counts.failed) == (0, 3)
    assert done.output_file_id is None
    _, errors = await world.results(done)
    assert [line["custom_id"] for line in errors] == ["line-1", "line-2", "line-3"]


async def test_what_deduplication_has_saved_is_told(world):
    line = next(iter(chat_lines(1)))
    line["body"]["temperature"] = 0
    twins = [{**line, "custom_id": f"twin-{n}"} for n in range(3)]
    batch = await planned(world, twins, deduplicate=True)

    await world.work()

    done = await world.reload(batch)
    assert done.counts.completed == 3
    assert done.options["saved_tokens"] > 0
    assert len(await world.arrivals()) == 1


async def test_a_larger_batch_is_left_to_the_assembler(make_world):
    world = make_world(execution=ExecutionSettings(complete_bytes=100))
    batch = await planned(world, chat_lines(3))

    await world.work()

    assert (await world.reload(batch)).status is BatchStatus.FINALIZING
    assert world.sink.types() == [EventType.BATCH_EXECUTED]
    await world.assembler.assemble(batch.id)
    assert (await world.reload(batch)).counts.completed == 3


async def test_a_batch_of_which_a_part_is_stored_is_left_to_the_assembler(make_world):
    world = make_world(execution=ExecutionSettings(flush_interval_s=0.01, flush_results=1))
    await world.configure(ttft_ms=50, slots=1)
    batch = await planned(world, chat_lines(4))

    await world.work()

    assert (await world.reload(batch)).status is BatchStatus.FINALIZING
    await world.assembler.assemble(batch.id)
    output, _ = await world.results(await world.reload(batch))
    assert len(output) == 4


class Breaking:
    """Shard rows of which ``complete`` breaks, before or after its transaction."""

    def __init__(self, rows, *, after, error):
        self._rows, self._after, self._error = rows, after, error
        self.calls = 0

    def __getattr__(self, name):
        return getattr(self._rows, name)

    async def complete(self, *args, **options):
        self.calls += 1
        if self.calls > 1:
            return await self._rows.complete(*args, **options)
        if self._after:
            assert await self._rows.complete(*args, **options) is not None
        raise self._error


@pytest.mark.parametrize("after", [False, True], ids=["lost", "committed"])
async def test_a_database_that_goes_away_in_the_transaction_costs_no_line(
    world, monkeypatch, after
):
    batch = await planned(world, chat_lines(5))
    rows = Breaking(world.metadata.shards, after=after, error=Unavailable("away"))
    monkeypatch.setattr(world.metadata, "shards", rows)

    await world.work()

    done = await world.reload(batch)
    assert done.status is BatchStatus.COMPLETED
    assert (await sent(world)) == (5, 5)
    output, _ = await world.results(done)
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(1, 6)]
    account = await world.metadata.accounts.get(TENANT)
    assert (account.open_batches, account.queued_requests) == (0, 0)
    names = {f"files/{done.output_file_id}", f"files/{done.input_file_id}"}
    assert names <= set(await stored(world, "files/"))  # sweeps delete what no row names


class Died(BaseException):
    """The process is killed here."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_an_executor_that_dies_beside_the_transaction_leaves_a_batch_that_ends_once(
    make_world, monkeypatch, after
):
    world = make_world(
        execution=ExecutionSettings(lease_ttl_s=0.5, heartbeat_s=0.1, slot_ttl_s=0.5)
    )
    batch = await planned(world, chat_lines(5))
    real = world.metadata.shards
    monkeypatch.setattr(world.metadata, "shards", Breaking(real, after=after, error=Died()))
    with pytest.raises(Died):
        await world.work()
    monkeypatch.setattr(world.metadata, "shards", real)

    async with asyncio.timeout(90):
        while not (found := await world.reload(batch)).terminal:
            await (world.assembler.assemble(batch.id) if found.assemblable else world.work())
    world.clock.ahead = timedelta(minutes=1)
    await world.janitor.sweep()

    done = await world.reload(batch)
    assert done.status is BatchStatus.COMPLETED
    output, _ = await world.results(done)
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(1, 6)]
    assert (await world.metadata.accounts.get(TENANT)).open_batches == 0
    assert await world.metadata.batches.ended(limit=9) == []
    assert await unsent(world) == []
