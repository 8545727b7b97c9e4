"""Verification on all stores: whatever is damaged is found, and nothing else."""

import hashlib
import secrets
from collections import Counter

import pytest
from fixtures.metadata import ALICE, BOB, T0, a_batch, a_file, a_shard, a_tally, claimed, planned
from fixtures.world import chat_lines

from batch_gateway.core.errors import Unavailable
from batch_gateway.core.ids import PartId, UploadId, file_id
from batch_gateway.core.layout import (
    digest_in,
    file_key,
    order_key,
    part_key,
    shard_key,
    upload_part_key,
)
from batch_gateway.core.lines import ShardLine, encode_shard_lines
from batch_gateway.core.model import ResultPart
from batch_gateway.core.uploads import Upload, UploadPart, UploadStatus
from batch_gateway.services.verify import expected as expected_module
from batch_gateway.services.verify.findings import StorageProblem
from batch_gateway.services.verify.verifier import StorageConsistencyVerifier
from batch_gateway.settings import PlanningSettings


def line(number: int, copies: int = 0) -> bytes:
    made = ShardLine(
        line=number,
        custom_id=f"line-{number}",
        url="/v1/chat/completions",
        model="m",
        body=b'{"model":"m"}',
        copies=[(number + 100 + n, f"copy-{n}") for n in range(copies)],
    )
    return encode_shard_lines([made])


class Stored:
    """Rows of every kind that name objects, with these."""

    def __init__(self, metadata, files) -> None:
        self.metadata = metadata
        self.files = files
        self.keys: dict[str, str] = {}  # of one object of each kind

    async def make(self) -> "Stored":
        for tenant in (ALICE, BOB):
            self.file = await self.file_of(tenant, b'{"custom_id": "a"}\n' * 100)
        self.keys["file"] = self.file.key
        await self.files.put(order_key(self.file.id), b"order")
        await self.upload()
        await self.batch()
        return self

    async def file_of(self, tenant, content):
        name = file_id(secrets.token_bytes(12))
        file = a_file(
            id=name,
            tenant=tenant,
            key=file_key(name),
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        await self.files.put(file.key, content)
        await self.metadata.files.add(file)
        return file

    async def upload(self):
        upload = Upload(
            id=UploadId(f"upload_{secrets.token_hex(12)}"),
            tenant=BOB,
            status=UploadStatus.PENDING,
            purpose="batch",
            filename="in.jsonl",
            size=10,
            created_at=T0,
            expires_at=T0.replace(year=2099),
        )
        part = UploadPart(id=PartId("part_1"), upload=upload.id, size=4, created_at=T0)
        await self.metadata.uploads.create(upload)
        await self.metadata.uploads.add_part(BOB, part, now=T0, max_bytes=100, max_parts=10)
        self.keys["upload part"] = upload_part_key(upload.id, part.id)
        await self.files.put(self.keys["upload part"], b"part")

    async def batch(self):
        """Of its three shards one is finished, one is as earlier releases wrote them."""
        batch = a_batch()
        contents = [line(1), line(2, copies=2), line(3) + line(4)]
        names = [shard_key(batch.id, "a1", index, raw) for index, raw in enumerate(contents)]
        self.keys["shard"] = names[1]
        self.keys["old shard"] = names[2] = f"work/{batch.id}/a1/000002/lines.jsonl"
        for key, raw in zip(names, contents, strict=True):
            await self.files.put(key, raw)
        shards = [
            a_shard(batch, index, key=names[index], lines=lines)
            for index, lines in enumerate((1, 3, 2))
        ]
        await self.metadata.batches.create(batch, [])
        await self.metadata.batches.plan(batch.id, shards, total=6, model="m", now=T0, events=[])
        lease = await claimed(self.metadata, batch, 0)
        result = b"[1,true,[1,0,1,0],{}]\n"
        key = part_key(lease.shard, 0, result, 1)
        await self.files.put(key, result)
        await self.metadata.shards.finish(
            lease.ref, [ResultPart(key=key, lines=1)], a_tally(1), now=T0, events=[]
        )
        self.keys["part"] = key
        self.batch_id = batch.id

    async def verified(self):
        verifier = StorageConsistencyVerifier(self.metadata, self.files)
        found = [finding async for finding in verifier.findings()]
        return found, verifier.summary


@pytest.fixture
async def stored(metadata, file_store):
    return await Stored(metadata, file_store).make()


async def read(files, key):
    return b"".join([chunk async for chunk in files.read(key)])


async def replace(files, key, content):
    await files.delete(key)
    await files.put(key, content)


async def test_what_is_whole_is_found_whole_and_counted(stored):
    found, summary = await stored.verified()

    assert found == []
    assert (summary.files, summary.upload_parts, summary.shards, summary.parts) == (2, 1, 3, 1)
    assert (summary.damaged, summary.orphans) == (0, 0)
    assert summary.bytes > 3000


KINDS = ["file", "upload part", "shard", "old shard", "part"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_object_that_is_gone_is_missing(stored, kind):
    await stored.files.delete(stored.keys[kind])

    (finding,), summary = await stored.verified()

    assert (finding.problem, finding.key) == (StorageProblem.MISSING, stored.keys[kind])
    assert finding.kind == kind.removeprefix("old ")
    assert finding.owner is not None
    assert finding.tenant in (ALICE, BOB)
    assert summary.damaged == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_an_object_that_is_cut_is_found(stored, kind):
    content = await read(stored.files, stored.keys[kind])
    await replace(stored.files, stored.keys[kind], content[:-2])

    (finding,), _ = await stored.verified()

    expected = {
        "file": StorageProblem.SIZE,
        "upload part": StorageProblem.SIZE,
        "old shard": StorageProblem.CONTENT,
    }
    assert finding.problem is expected.get(kind, StorageProblem.CHECKSUM)
    assert finding.key == stored.keys[kind]


@pytest.mark.parametrize("kind", ["file", "shard", "part"])
async def test_one_changed_byte_is_found_by_the_checksum(stored, kind):
    content = await read(stored.files, stored.keys[kind])
    await replace(stored.files, stored.keys[kind], b"X" + content[1:])

    (finding,), _ = await stored.verified()

    assert (finding.problem, finding.key) == (StorageProblem.CHECKSUM, stored.keys[kind])


async def test_an_old_shard_without_checksum_that_lacks_a_request_is_found(stored):
    key = stored.keys["old shard"]
    content = await read(stored.files, key)
    await replace(stored.files, key, b"".join(content.splitlines(keepends=True)[:-1]))

    (finding,), _ = await stored.verified()

    assert (finding.problem, finding.key) == (StorageProblem.CONTENT, key)
    assert "2 requests are recorded, 1 are there" in finding.detail


async def test_a_part_with_another_number_of_results_than_its_row_says_is_found(stored):
    """Its checksum is right: the row is what is wrong."""
    result = b"[2,true,[1,0,1,0],{}]\n"
    batch = await stored.metadata.batches.load(stored.batch_id)
    lease = await claimed(stored.metadata, batch, 1)
    key = part_key(lease.shard, 0, result, 1)
    await stored.files.put(key, result)
    await stored.metadata.shards.finish(
        lease.ref, [ResultPart(key=key, lines=3)], a_tally(3), now=T0, events=[]
    )

    (finding,), _ = await stored.verified()

    assert (finding.problem, finding.key) == (StorageProblem.CONTENT, key)
    assert finding.detail == "3 lines are recorded, 1 are there"


async def test_all_damage_is_told_not_only_the_first(stored):
    for key in stored.keys.values():
        await stored.files.delete(key)

    found, summary = await stored.verified()

    assert {finding.key for finding in found} == set(stored.keys.values())
    assert summary.damaged == len(KINDS)


async def test_objects_that_no_row_names_are_listed_and_are_no_damage(stored):
    orphans = [
        "files/file-of-nobody",
        "orders/file-of-nobody",
        "uploads/upload_of_nobody/part_1",
        "work/batch_of_nobody/a1/000000/lines.jsonl",
    ]
    ended = await planned(stored.metadata, shards=1)
    await stored.files.put(f"work/{ended.id}/0", b"x")  # its shard's object
    await stored.metadata.batches.fail(ended.id, [], now=T0, events=[])
    for key in orphans:
        await stored.files.put(key, b"x")

    found, summary = await stored.verified()

    assert Counter(finding.problem for finding in found) == {StorageProblem.ORPHAN: 5}
    assert {f.key for f in found} == {*orphans, f"work/{ended.id}/0"}
    assert all(finding.modified_at is not None for finding in found)
    assert (summary.damaged, summary.orphans) == (0, 5)


async def test_a_row_that_goes_meanwhile_is_no_damage(stored, monkeypatch):
    """The object is deleted before the row is: the janitor does it so."""
    file = stored.file
    await stored.files.delete(file.key)
    reading = stored.files.read

    def read_after_the_row_is_gone(key, **bounds):
        async def chunks():
            if key == file.key:
                await stored.metadata.files.delete(file.tenant, file.id)
            async for chunk in reading(key, **bounds):
                yield chunk

        return chunks()

    monkeypatch.setattr(stored.files, "read", read_after_the_row_is_gone)

    found, _ = await stored.verified()

    assert {finding.problem for finding in found} <= {StorageProblem.ORPHAN}


async def test_one_object_that_cannot_be_read_does_not_hide_the_others(stored, monkeypatch):
    reading = stored.files.read
    await stored.files.delete(stored.keys["part"])

    def refuse(key, **bounds):
        if key == stored.keys["file"]:
            raise Unavailable("input/output error")
        return reading(key, **bounds)

    monkeypatch.setattr(stored.files, "read", refuse)

    found, _ = await stored.verified()

    assert {(f.problem, f.key) for f in found} == {
        (StorageProblem.UNREADABLE, stored.keys["file"]),
        (StorageProblem.MISSING, stored.keys["part"]),
    }


async def test_a_store_that_does_not_answer_is_no_damage(stored, monkeypatch):
    for _ in range(30):
        await stored.file_of(ALICE, b"x")

    def away(_key, **_bounds):
        raise Unavailable("connection refused")

    monkeypatch.setattr(stored.files, "read", away)

    with pytest.raises(Unavailable, match="connection refused"):
        await stored.verified()


@pytest.mark.redis
async def test_a_batch_is_whole_at_every_step_of_its_way(make_world):
    world = make_world(planning=PlanningSettings(shard_lines=2))

    async def findings():
        verifier = StorageConsistencyVerifier(world.metadata, world.files)
        return [finding async for finding in verifier.findings()]

    batch = await world.submit(chat_lines(6), deduplicate=True)
    assert await findings() == []
    await world.planner.plan(batch.id)
    shards = [shard async for shard in world.metadata.shards.of_batch(batch.id)]
    assert all(digest_in(shard.key) for shard in shards)
    assert await findings() == []
    await world.work()
    assert await findings() == []
    await world.assembler.assemble(batch.id)
    assert await findings() == []
    assert (await world.reload(batch)).counts.completed == 6


async def test_a_listing_is_gone_through_to_its_end_although_files_go(stored, monkeypatch):
    """The row that the cursor names is deleted between two pages."""
    monkeypatch.setattr(expected_module, "_PAGE", 2)
    names = {(await stored.file_of(ALICE, b"x")).id for _ in range(6)}
    listing, gone = stored.metadata.files.list, []

    async def list_files(tenant, *, after=None, **how):
        if after in names and not gone:
            gone.append(await stored.metadata.files.delete(ALICE, after))
            await stored.files.delete(file_key(after))
        return await listing(tenant, after=after, **how)

    monkeypatch.setattr(stored.metadata.files, "list", list_files)

    found, summary = await stored.verified()

    assert found == []
    assert gone
    assert summary.files >= 7
