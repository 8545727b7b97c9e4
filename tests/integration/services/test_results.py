"""Results while a batch runs and afterwards: each line once, whatever happens meanwhile."""

import asyncio
import json
import random
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from fixtures.world import TENANT, chat_lines

from batch_gateway.core.engine_response import decode
from batch_gateway.core.errors import InvalidRequest, NotFound
from batch_gateway.core.ids import ActivationId, TenantId, shard_id
from batch_gateway.core.layout import lease_ref
from batch_gateway.core.lines import ShardLine, answered, encode_part_line
from batch_gateway.core.model import BatchStatus, ResultTally, ShardState
from batch_gateway.services.results.parts import write_part
from batch_gateway.services.results.stream import ResultService, StreamCursor
from batch_gateway.settings import ExecutionSettings, PlanningSettings

pytestmark = pytest.mark.redis

BRISK = ExecutionSettings(flush_interval_s=0.02, flush_results=2, lease_ttl_s=3, heartbeat_s=0.5)


def service(world, follow=timedelta(minutes=1)):
    return ResultService(
        metadata=world.metadata,
        files=world.files,
        clock=world.clock,
        follow=follow,
        stopping=world.stopping,
    )


class Reader:
    """A client that reads page by page and remembers where it was."""

    def __init__(self, world, batch, *, limit=7):
        self.results = service(world)
        self.batch = batch
        self.limit = limit
        self.cursor = None
        self.more = True
        self.lines = []

    async def read(self):
        """One page."""
        page = await self.results.page(TENANT, self.batch.id, after=self.cursor, limit=self.limit)
        assert len(page.lines) <= self.limit
        self.lines += page.lines
        self.cursor, self.more = page.cursor, page.more

    async def read_on(self, *, until=None):
        """All that is there now."""
        before = -1
        while self.more and before < len(self.lines):
            before = len(self.lines)
            await self.read()

    async def read_to_the_end(self):
        while self.more:
            await self.read()


async def in_files(world, batch):
    """All lines of both files, in no order."""
    output, errors = await world.results(await world.reload(batch))
    return sorted(json.dumps(line, sort_keys=True) for line in output + errors)


def spelled(lines):
    return sorted(json.dumps(json.loads(line), sort_keys=True) for line in lines)


@asynccontextmanager
async def working(world):
    """An executor that dies when the block ends."""
    task = asyncio.create_task(world.work())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def leases(world, batch):
    return [
        lease_ref(shard)
        async for shard in world.metadata.shards.of_batch(batch.id)
        if shard.state is ShardState.LEASED
    ]


async def test_every_line_is_given_once_to_readers_of_any_beginning(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=20), execution=BRISK)
    lines = chat_lines(90)
    for line in lines[::9]:
        line["body"]["model"] = "nobody"
    await world.configure(ttft_ms=20, slots=5)
    batch = await world.submit(lines)
    early = Reader(world, batch)
    await early.read()
    await world.planner.plan(batch.id)
    halfway = Reader(world, batch, limit=3)

    async with working(world) as task:
        while not task.done():
            await early.read()
            if len(early.lines) > 40 > len(halfway.lines):
                await halfway.read()
            await asyncio.sleep(0.01)
    while_running = len(early.lines), len(halfway.lines)
    await world.assembler.assemble(batch.id)
    late = Reader(world, batch, limit=10_000)

    for reader in (early, halfway, late):
        await reader.read_to_the_end()
        assert spelled(reader.lines) == await in_files(world, batch)
    assert 0 < while_running[1] < while_running[0]


@pytest.mark.parametrize("seed", range(4))
async def test_no_line_is_lost_or_repeated_whatever_happens_to_its_shard(make_world, seed):
    chance = random.Random(seed)
    world = make_world(planning=PlanningSettings(shard_lines=12), execution=BRISK)
    await world.configure(ttft_ms=15, slots=6)
    batch = await world.submit(chat_lines(60))
    await world.planner.plan(batch.id)
    readers = [Reader(world, batch, limit=chance.randint(1, 9)) for _ in range(3)]

    for _ in range(6):
        async with working(world):
            for _ in range(chance.randint(1, 6)):
                await chance.choice(readers).read()
                await asyncio.sleep(chance.random() * 0.03)
            if chance.random() < 0.5:
                world.stopping.set()  # hands back what it has
                await asyncio.sleep(0.05)
        world.stopping.clear()
        for reader in readers[1:]:
            await reader.read_on()
        await world.termination.reclaim(await leases(world, batch))
    await readers[2].read_on()
    if seed % 2:
        now = world.clock.now()
        await world.metadata.batches.cancel(TENANT, batch.id, now=now, fence_at=now, events=[])
    else:
        await world.wipe()
        await world.work()
    await readers[1].read()
    await world.assembler.assemble(batch.id)

    for reader in readers:
        await reader.read_to_the_end()
        assert spelled(reader.lines) == await in_files(world, batch)


async def test_what_a_holder_stores_after_it_was_replaced_is_given_to_nobody(make_world):
    """And what was given stays what the output file says, though the late one comes first."""
    world = make_world()
    batch = await world.submit(chat_lines(2))
    await world.planner.plan(batch.id)
    shard = shard_id(batch.id, 0)

    async def claim(name):
        return await world.metadata.shards.claim(
            shard, holder=ActivationId(name), token=name, now=world.clock.now()
        )

    def result(line, text):
        request = ShardLine(line, f"line-{line}", "/v1/chat/completions", "m", b"{}")
        answer = decode(json.dumps({"text": text}).encode())
        return encode_part_line(
            answered(batch.id, request, answer, status=200, request_id="r", ok=True)
        )

    first = await claim("first")
    await world.metadata.shards.release(
        first.ref, [], ResultTally(), now=world.clock.now(), events=[]
    )
    second = await claim("second")
    await write_part(world.files, second.shard, 0, [result(1, "in time")])
    reader = Reader(world, batch)
    await reader.read()
    await write_part(world.files, first.shard, 0, [result(1, "late"), result(2, "late")])
    await reader.read()
    await world.termination.reclaim([second.ref])
    await write_part(world.files, second.shard, 1, [result(2, "too late")])
    await reader.read()
    given = [json.loads(line)["response"]["body"]["text"] for line in reader.lines]
    await world.metadata.batches.cancel(
        TENANT, batch.id, now=world.clock.now(), fence_at=world.clock.now(), events=[]
    )
    await world.assembler.assemble(batch.id)
    await reader.read_to_the_end()

    assert given[0] == "in time"
    assert "too late" not in given
    assert spelled(reader.lines) == await in_files(world, batch)


async def test_lines_of_a_shard_come_in_the_order_of_their_completion(make_world):
    world = make_world(execution=BRISK)
    lines = chat_lines(12)
    await world.configure(ttft_ms=5, slots=12)
    batch = await world.submit(lines)
    await world.planner.plan(batch.id)
    reader = Reader(world, batch, limit=1)

    async with working(world) as task:
        while not task.done():
            await reader.read()
            await asyncio.sleep(0.001)
    await reader.read_on()
    again = Reader(world, batch, limit=5)
    await again.read_on()

    assert len(reader.lines) == 12
    assert again.lines == reader.lines


async def test_who_follows_a_batch_is_told_where_he_stands_and_when_it_has_ended(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=10), execution=BRISK)
    batch = await world.submit(chat_lines(25))
    lines, standings = [], []

    async def follow():
        async for item in await service(world).follow(TENANT, batch.id, after=None):
            (standings if isinstance(item, StreamCursor) else lines).append(item)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.05)
    await world.run(batch)
    await asyncio.wait_for(following, 20)
    rest = await service(world).page(TENANT, batch.id, after=standings[-1].cursor, limit=10)

    assert spelled(lines) == await in_files(world, batch)
    assert standings[-1].status == "completed"
    assert (rest.lines, rest.more) == ([], False)


async def test_nobody_follows_for_longer_than_a_request_may_take(make_world):
    world = make_world()
    batch = await world.submit(chat_lines(2))
    follow = service(world, follow=timedelta(seconds=0.05))

    found = [item async for item in await follow.follow(TENANT, batch.id, after=None)]

    assert [item.status for item in found] == ["validating"] * len(found)


@pytest.mark.parametrize("word", ["", "x", "!", "AAAA", "eJw", "ä"])
async def test_what_is_no_cursor_is_refused(world, word):
    batch = await world.submit(chat_lines(1))

    with pytest.raises(InvalidRequest):
        await service(world).page(TENANT, batch.id, after=word, limit=1)


async def test_the_cursor_of_another_batch_is_refused(world):
    one, other = await world.submit(chat_lines(1)), await world.submit(chat_lines(1))
    page = await service(world).page(TENANT, one.id, after=None, limit=1)

    with pytest.raises(InvalidRequest):
        await service(world).page(TENANT, other.id, after=page.cursor, limit=1)


async def test_results_that_were_deleted_are_said_to_be_gone(world):
    batch = await world.run(await world.submit(chat_lines(1)))
    await world.metadata.files.delete(TENANT, batch.output_file_id)

    with pytest.raises(NotFound, match="gone"):
        await service(world).page(TENANT, batch.id, after=None, limit=1)


async def test_a_failed_batch_and_a_dry_run_have_no_results(world):
    failed = await world.run(await world.submit(b"no json\n"))
    dry = await world.run(await world.submit(chat_lines(2), dry_run=True))

    assert failed.status is BatchStatus.FAILED
    for batch in (failed, dry):
        page = await service(world).page(TENANT, batch.id, after=None, limit=10)
        assert (page.lines, page.more) == ([], False)


async def test_another_tenants_results_are_nobodys(world):
    batch = await world.run(await world.submit(chat_lines(1)))

    stranger = TenantId("stranger")
    assert await service(world).page(stranger, batch.id, after=None, limit=1) is None
    assert await service(world).follow(stranger, batch.id, after=None) is None
