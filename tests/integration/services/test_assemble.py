"""The assembler on real stores."""

import asyncio
import json
from datetime import timedelta

import pytest
from fixtures.world import chat_lines

from batch_gateway.adapters.local_files import LocalFiles
from batch_gateway.core.errors import Busy, Unavailable
from batch_gateway.core.events import EventType
from batch_gateway.core.layout import file_key, run_of_key
from batch_gateway.core.model import BatchStatus
from batch_gateway.services.results.stream import ResultService
from batch_gateway.settings import ExecutionSettings, PlanningSettings

pytestmark = pytest.mark.redis


async def executed(world, lines):
    """A batch that waits for the assembler, however small it is."""
    world.execution = world.execution.model_copy(update={"complete_bytes": 0})
    batch = await world.submit(lines)
    await world.planner.plan(batch.id)
    await world.work()
    return batch


async def blobs(world, prefix):
    return [blob.key async for blob in world.files.list(prefix)]


async def test_output_and_error_file_are_in_input_order_with_every_id_once(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=7))
    lines = chat_lines(40)
    for line in lines[::5]:
        line["body"]["model"] = "nobody"

    batch = await world.run(await world.submit(lines))

    output, errors = await world.results(batch)
    assert [line["custom_id"] for line in errors] == [f"line-{n}" for n in range(1, 41, 5)]
    assert [line["custom_id"] for line in output] == [
        f"line-{n}" for n in range(1, 41) if n % 5 != 1
    ]
    assert (batch.counts.total, batch.counts.completed, batch.counts.failed) == (40, 32, 8)
    assert batch.usage is not None
    assert batch.usage.output_tokens > 0


async def test_a_clean_batch_has_no_error_file_and_a_hopeless_one_no_output_file(world):
    clean = await world.run(await world.submit(chat_lines(3)))
    hopeless = await world.run(await world.submit(chat_lines(3, model="nobody")))

    assert clean.output_file_id is not None
    assert clean.error_file_id is None
    assert hopeless.output_file_id is None
    assert hopeless.error_file_id is not None
    assert hopeless.status is BatchStatus.COMPLETED


async def test_the_work_objects_are_gone_afterwards(world):
    batch = await world.run(await world.submit(chat_lines(3)))

    assert await blobs(world, f"work/{batch.id}/") == []


async def test_hearing_it_again_announces_again_and_changes_nothing(world):
    batch = await world.run(await world.submit(chat_lines(3)))
    first = world.sink.take()[-1]

    await world.assembler.assemble(batch.id)

    assert await world.reload(batch) == batch
    assert [event.id for event in world.sink.take()] == [first.id]


async def test_of_two_assemblers_one_is_told_to_come_again_and_no_file_is_left_over(make_world):
    world = make_world()
    batch = await executed(world, chat_lines(30))

    ended = await asyncio.gather(
        world.assembler.assemble(batch.id),
        make_world().assembler.assemble(batch.id),
        return_exceptions=True,
    )

    assert [error for error in ended if error is not None and not isinstance(error, Busy)] == []
    batch = await world.reload(batch)
    assert batch.status is BatchStatus.COMPLETED
    assert sorted(await blobs(world, "files/")) == sorted(
        [file_key(batch.input_file_id), file_key(batch.output_file_id)]
    )


async def test_a_cancel_in_the_midst_of_it_is_obeyed_at_once(make_world, tmp_path):
    world = make_world()
    batch = await executed(world, chat_lines(3))

    class Overtaken(LocalFiles):
        async def put(self, key, chunks):
            size = await super().put(key, chunks)
            if key.startswith("orders/"):
                now = world.clock.now()
                await world.metadata.batches.cancel(
                    batch.tenant, batch.id, now=now, fence_at=now, events=[]
                )
            return size

    world.files = Overtaken(tmp_path / "files")

    await world.assembler.assemble(batch.id)

    ended = await world.reload(batch)
    assert ended.status is BatchStatus.CANCELLED
    assert sorted(await blobs(world, "files/")) == sorted(
        [file_key(batch.input_file_id), file_key(ended.output_file_id)]
    )


async def test_an_assembly_that_cannot_be_done_leaves_nothing_behind(make_world, tmp_path):
    world = make_world()
    batch = await executed(world, chat_lines(3))

    class Full(LocalFiles):
        async def put(self, key, chunks):
            if key.startswith("orders/"):
                raise Unavailable("no space is left")
            return await super().put(key, chunks)

    world.files = Full(tmp_path / "files")

    with pytest.raises(Unavailable):
        await world.assembler.assemble(batch.id)

    assert await blobs(world, "files/") == [file_key(batch.input_file_id)]


async def test_nothing_happens_while_a_shard_is_open(world):
    batch = await world.submit(chat_lines(3))
    await world.planner.plan(batch.id)

    await world.assembler.assemble(batch.id)

    assert (await world.reload(batch)).status is BatchStatus.IN_PROGRESS


async def test_a_missing_part_is_an_error_and_never_a_result(world):
    batch = await executed(world, chat_lines(3))
    (part,) = [key for key in await blobs(world, f"work/{batch.id}/") if "/parts/" in key]
    await world.files.delete(part)

    with pytest.raises(Unavailable, match="missing"):
        await world.assembler.assemble(batch.id)

    assert (await world.reload(batch)).status is BatchStatus.FINALIZING


async def test_a_batch_cancelled_before_it_was_planned_has_an_error_line_for_every_request(world):
    batch = await world.submit(chat_lines(5))
    now = world.clock.now()
    await world.metadata.batches.cancel(batch.tenant, batch.id, now=now, fence_at=now, events=[])

    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    _, errors = await world.results(batch)
    assert batch.status is BatchStatus.CANCELLED
    assert [line["custom_id"] for line in errors] == [f"line-{n}" for n in range(1, 6)]
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}


async def test_a_batch_that_expired_before_it_was_planned_keeps_every_line(world):
    batch = await world.submit(chat_lines(5), window=timedelta(seconds=-1))

    assert await world.termination.expire(batch.id, traceparent=None)
    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    _, errors = await world.results(batch)
    assert batch.status is BatchStatus.EXPIRED
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    assert (batch.counts.total, batch.counts.failed, len(errors)) == (5, 0, 5)
    assert EventType.BATCH_EXPIRED in world.sink.types()


async def test_result_files_expire_as_the_batch_asked(world):
    batch = await world.submit(chat_lines(2))
    asked = batch.evolve(
        id=f"{batch.id[:-4]}beef", output_expires_after_s=7200, created_at=world.clock.now()
    )
    await world.metadata.batches.create(asked, [])

    ended = await world.run(asked)

    file = await world.metadata.files.get(ended.tenant, ended.output_file_id)
    assert file.expires_at - file.created_at == timedelta(hours=2)
    assert file.purpose == "batch_output"


async def half_assembled(world, batch):
    """Let an assembly fail behind all but the last shards, and take what it has read away.

    Returns how many shards it has collected for the next attempt.
    """
    shards = [shard async for shard in world.metadata.shards.of_batch(batch.id)]
    assert len(shards) == 12
    last = shards[-1].parts[0].key
    content = b"".join([chunk async for chunk in world.files.read(last)])
    await world.files.delete(last)
    with pytest.raises(Unavailable):
        await world.assembler.assemble(batch.id)
    await world.files.put(last, content)
    world.clock.ahead += timedelta(minutes=1)  # the right to assemble has run out
    kept = await blobs(world, f"work/{batch.id}/runs/")
    gathered = max(run_of_key(key).end for key in kept)
    await world.files.delete(*(part.key for shard in shards[:gathered] for part in shard.parts))
    return gathered


@pytest.fixture
def world_of_runs(make_world):
    """Every four shards, which are read side by side, make a run."""
    return make_world(
        planning=PlanningSettings(shard_lines=5), execution=ExecutionSettings(assembly_run_bytes=1)
    )


async def test_an_assembly_goes_on_behind_the_shards_that_a_dead_one_has_gathered(world_of_runs):
    world = world_of_runs
    lines = chat_lines(60)
    for line in lines[::12]:
        line["body"]["model"] = "nobody"
    batch = await executed(world, lines)

    gathered = await half_assembled(world, batch)
    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    output, errors = await world.results(batch)
    assert 4 <= gathered < 12
    assert batch.status is BatchStatus.COMPLETED
    assert [line["custom_id"] for line in errors] == [f"line-{n}" for n in range(1, 61, 12)]
    assert [line["custom_id"] for line in output] == [
        f"line-{n}" for n in range(1, 61) if n % 12 != 1
    ]
    assert (batch.counts.completed, batch.counts.failed) == (55, 5)
    assert await blobs(world, f"work/{batch.id}/") == []


async def test_readers_have_each_line_once_although_an_assembler_died(world_of_runs):
    world = world_of_runs
    batch = await executed(world, chat_lines(60))
    reader = ResultService(
        metadata=world.metadata,
        files=world.files,
        clock=world.clock,
        follow=timedelta(seconds=1),
        stopping=asyncio.Event(),
    )
    first = await reader.page(batch.tenant, batch.id, after=None, limit=23)

    await half_assembled(world, batch)
    await world.assembler.assemble(batch.id)
    second = await reader.page(batch.tenant, batch.id, after=first.cursor, limit=100)

    given = [json.loads(line)["custom_id"] for line in (*first.lines, *second.lines)]
    assert sorted(given) == sorted(f"line-{n}" for n in range(1, 61))


async def test_a_damaged_run_is_gathered_anew(world_of_runs):
    world = world_of_runs
    batch = await executed(world, chat_lines(60))
    last = [shard async for shard in world.metadata.shards.of_batch(batch.id)][-1].parts[0].key
    content = b"".join([chunk async for chunk in world.files.read(last)])
    await world.files.delete(last)
    with pytest.raises(Unavailable):
        await world.assembler.assemble(batch.id)
    for key in await blobs(world, f"work/{batch.id}/runs/"):
        await world.files.put(key, b"nonsense\n")
    await world.files.put(last, content)
    world.clock.ahead += timedelta(minutes=1)

    await world.assembler.assemble(batch.id)

    output, _ = await world.results(await world.reload(batch))
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(1, 61)]


async def test_runs_of_another_ending_are_not_used(world_of_runs):
    """Lines that were never run say why."""
    world = world_of_runs
    batch = await world.submit(chat_lines(60), window=timedelta(seconds=2))
    await world.planner.plan(batch.id)
    await asyncio.sleep((batch.deadline - world.clock.now()).total_seconds())
    assert await world.termination.expire(batch.id, traceparent=None)
    shards = [shard async for shard in world.metadata.shards.of_batch(batch.id)]
    content = b"".join([chunk async for chunk in world.files.read(shards[-1].key)])
    await world.files.delete(shards[-1].key)
    with pytest.raises(Unavailable):
        await world.assembler.assemble(batch.id)
    await world.files.put(shards[-1].key, content)
    world.clock.ahead += timedelta(minutes=1)
    kept = await blobs(world, f"work/{batch.id}/runs/")
    now = world.clock.now()
    await world.metadata.batches.cancel(batch.tenant, batch.id, now=now, fence_at=now, events=[])

    await world.assembler.assemble(batch.id)

    batch = await world.reload(batch)
    _, errors = await world.results(batch)
    assert kept
    assert batch.status is BatchStatus.CANCELLED
    assert [line["error"]["code"] for line in errors] == ["batch_cancelled"] * 60
    assert (batch.counts.total, batch.counts.failed) == (60, 0)


async def test_small_batches_are_assembled_side_by_side_and_large_ones_one_at_a_time(
    world, monkeypatch
):
    writes, now, most = world.files.put, set(), [0]

    async def put(key, chunks):
        if key.startswith("files/"):
            now.add(key)
            most[0] = max(most[0], len(now))
            await asyncio.sleep(0.05)
        try:
            return await writes(key, chunks)
        finally:
            now.discard(key)

    async def assembled_at_once():
        batches = [await executed(world, chat_lines(3)) for _ in range(4)]
        most[0] = 0
        monkeypatch.setattr(world.files, "put", put)
        assembler = world.assembler
        await asyncio.gather(*(assembler.assemble(batch.id) for batch in batches))
        monkeypatch.setattr(world.files, "put", writes)
        for batch in batches:
            assert (await world.reload(batch)).status is BatchStatus.COMPLETED
        return most[0]

    assert await assembled_at_once() > 1
    monkeypatch.setattr("batch_gateway.services.assemble.assembler.SMALL", 2)
    assert await assembled_at_once() == 1
