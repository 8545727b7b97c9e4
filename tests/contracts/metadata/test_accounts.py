"""What each tenant has: kept by every change, and never beyond its quotas."""

import asyncio

import pytest
from fixtures.metadata import (
    ALICE,
    BOB,
    SECOND,
    T0,
    a_batch,
    a_file,
    a_shard,
    finalizing,
    planned,
)

from batch_gateway.core.errors import Conflict, OverQuota
from batch_gateway.core.ids import FileId, UploadId
from batch_gateway.core.model import BatchStatus, Counts
from batch_gateway.core.quotas import Account, Quotas
from batch_gateway.core.uploads import Upload, UploadStatus


def an_upload() -> Upload:
    return Upload(
        id=UploadId("upload_1"),
        tenant=ALICE,
        status=UploadStatus.PENDING,
        purpose="evals",
        filename="a",
        size=5,
        created_at=T0,
        expires_at=T0 + SECOND,
        file_lifetime_s=None,
    )


async def test_a_tenant_that_nobody_knows_has_nothing(metadata):
    assert await metadata.accounts.get(ALICE) == Account()


async def test_files_count_until_they_are_deleted(metadata):
    one, two = a_file(size=7), a_file(size=3_000_000_000)
    for file in (one, two, a_file(tenant=BOB, size=1)):
        await metadata.files.add(file)
    before = await metadata.accounts.get(ALICE)

    await metadata.files.delete(ALICE, two.id)
    await metadata.files.delete(ALICE, two.id)
    await metadata.files.delete(BOB, one.id)

    assert before == Account(files=2, stored_bytes=3_000_000_007)
    assert await metadata.accounts.get(ALICE) == Account(files=1, stored_bytes=7)
    assert await metadata.accounts.get(BOB) == Account(files=1, stored_bytes=1)


async def test_an_upload_counts_when_it_has_become_a_file(metadata):
    upload = an_upload()
    await metadata.uploads.create(upload)
    small = Quotas(stored_bytes=4)

    with pytest.raises(OverQuota):
        await metadata.uploads.complete(ALICE, upload.id, a_file(size=5), receipt="r", quotas=small)
    before = await metadata.accounts.get(ALICE)
    pending = await metadata.uploads.get(ALICE, upload.id)
    await metadata.uploads.complete(ALICE, upload.id, a_file(size=5), receipt="r")

    assert (before, pending) == (Account(), upload)
    assert await metadata.accounts.get(ALICE) == Account(files=1, stored_bytes=5)


async def test_a_batch_counts_until_it_has_ended_and_its_files_from_then_on(metadata):
    batch = await finalizing(metadata)
    running = await metadata.accounts.get(ALICE)
    await metadata.batches.claim_assembly(batch.id, "me", now=T0, ttl=SECOND)

    await metadata.batches.finish(
        batch.id,
        BatchStatus.COMPLETED,
        holder="me",
        files=[a_file(id=FileId("file-out"), size=4), a_file(size=1)],
        output=FileId("file-out"),
        error=None,
        counts=Counts(total=99, completed=99),
        usage=None,
        now=T0,
        events=[],
    )

    assert running == Account(open_batches=1, queued_requests=10)
    assert await metadata.accounts.get(ALICE) == Account(files=2, stored_bytes=5)


async def test_a_batch_that_fails_gives_everything_back(metadata):
    created = a_batch()
    await metadata.batches.create(created, [])
    running = await planned(metadata, shards=2)
    before = await metadata.accounts.get(ALICE)

    for batch in (created, running):
        assert await metadata.batches.fail(batch.id, [], now=T0, events=[]) is not None
        assert await metadata.batches.fail(batch.id, [], now=T0, events=[]) is None

    assert before == Account(open_batches=2, queued_requests=20)
    assert await metadata.accounts.get(ALICE) == Account()


async def test_what_is_beyond_a_quota_changes_nothing(metadata):
    await metadata.files.add(a_file(size=6))
    batch = a_batch()
    await metadata.batches.create(batch, [])
    before = await metadata.accounts.get(ALICE)
    refused = a_batch()
    plan = {"model": "m", "now": T0, "events": []}

    with pytest.raises(OverQuota) as files:
        await metadata.files.add(a_file(size=1), quotas=Quotas(files=1))
    with pytest.raises(OverQuota) as stored:
        await metadata.files.add(a_file(size=5), quotas=Quotas(stored_bytes=10))
    with pytest.raises(OverQuota) as opened:
        await metadata.batches.create(refused, [], quotas=Quotas(open_batches=1))
    with pytest.raises(OverQuota) as queued:
        await metadata.batches.plan(
            batch.id, [a_shard(batch, 0)], total=11, quotas=Quotas(queued_requests=10), **plan
        )

    errors = [found.value for found in (files, stored, opened, queued)]
    assert [(error.name, error.limit) for error in errors] == [
        ("files", 1),
        ("stored_bytes", 10),
        ("open_batches", 1),
        ("queued_requests", 10),
    ]
    assert await metadata.accounts.get(ALICE) == before
    assert await metadata.batches.load(refused.id) is None
    assert await metadata.batches.load(batch.id) == batch
    assert [shard async for shard in metadata.shards.of_batch(batch.id)] == []
    page = await metadata.files.list(ALICE, limit=10)
    assert len(page.items) == 1


async def test_a_quota_may_be_used_up_and_is_each_tenants_own(metadata):
    quotas = Quotas(files=2, stored_bytes=10, open_batches=1, queued_requests=10)
    await metadata.files.add(a_file(size=4), quotas=quotas)
    await metadata.files.add(a_file(size=6), quotas=quotas)
    batch = a_batch()
    await metadata.batches.create(batch, [], quotas=quotas)
    plan = {"total": 10, "model": "m", "now": T0, "events": []}

    assert await metadata.batches.plan(batch.id, [a_shard(batch, 0)], quotas=quotas, **plan)
    await metadata.files.add(a_file(tenant=BOB, size=10), quotas=quotas)
    await metadata.batches.create(a_batch(tenant=BOB), [], quotas=quotas)


async def test_who_has_too_much_of_one_thing_may_have_more_of_another(metadata):
    """Quotas may be lowered, and results are always kept."""
    await metadata.files.add(a_file(size=100))

    await metadata.batches.create(a_batch(), [], quotas=Quotas(stored_bytes=10, open_batches=5))


async def test_an_id_that_is_taken_is_a_conflict_and_counts_once(metadata):
    batch, file = a_batch(), a_file(size=3)
    await metadata.batches.create(batch, [])
    await metadata.files.add(file)

    with pytest.raises(Conflict):
        await metadata.batches.create(batch, [], quotas=Quotas(open_batches=1))
    with pytest.raises(Conflict):
        await metadata.files.add(file, quotas=Quotas(files=1))

    assert await metadata.accounts.get(ALICE) == Account(files=1, stored_bytes=3, open_batches=1)


async def test_however_many_come_at_once_the_sum_never_goes_beyond(open_metadata):
    stores = [await open_metadata() for _ in range(3)]
    quotas = Quotas(files=7, stored_bytes=35, open_batches=4)

    async def attempt(number):
        store = stores[number % 3]
        try:
            if number % 2:
                await store.files.add(a_file(size=5), quotas=quotas)
            else:
                await store.batches.create(a_batch(), [], quotas=quotas)
        except OverQuota:
            return False
        return True

    done = await asyncio.gather(*(attempt(number) for number in range(30)))

    assert (sum(done[1::2]), sum(done[::2])) == (7, 4)
    assert await stores[0].accounts.get(ALICE) == Account(files=7, stored_bytes=35, open_batches=4)
