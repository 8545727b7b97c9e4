"""What each tenant has: kept by every change, and never beyond its quotas."""

import asyncio
from dataclasses import asdict

import pytest
from fixtures.metadata import (
    ALICE,
    BOB,
    SECOND,
    T0,
    a_batch,
    a_file,
    a_shard,
    assembled,
    finalizing,
    planned,
)

from batch_gateway.adapters.sql.accounts import book
from batch_gateway.adapters.sql.store import SqlMetadata
from batch_gateway.core.errors import Conflict, OverQuota
from batch_gateway.core.ids import FileId, PartId, TenantId, UploadId
from batch_gateway.core.model import LineCounts
from batch_gateway.core.quotas import Quotas, QuotaUsage
from batch_gateway.core.uploads import Upload, UploadPart, UploadStatus


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
    assert await metadata.accounts.get(ALICE) == QuotaUsage()


async def test_files_count_until_they_are_deleted(metadata):
    one, two = a_file(size=7), a_file(size=3_000_000_000)
    for file in (one, two, a_file(tenant=BOB, size=1)):
        await metadata.files.add(file)
    before = await metadata.accounts.get(ALICE)

    await metadata.files.delete(ALICE, two.id)
    await metadata.files.delete(ALICE, two.id)
    await metadata.files.delete(BOB, one.id)

    assert before == QuotaUsage(files=2, stored_bytes=3_000_000_007)
    assert await metadata.accounts.get(ALICE) == QuotaUsage(files=1, stored_bytes=7)
    assert await metadata.accounts.get(BOB) == QuotaUsage(files=1, stored_bytes=1)


async def add_part(metadata, upload, size, **quotas) -> bool:
    part = UploadPart(id=PartId(f"part_{size}"), upload=upload.id, size=size, created_at=T0)
    return await metadata.uploads.add_part(
        ALICE, part, now=T0, max_bytes=100, max_parts=9, quotas=Quotas(**quotas)
    )


async def test_an_upload_counts_by_its_parts_and_then_as_a_file(metadata):
    upload = an_upload()
    await metadata.uploads.create(upload)
    assert await add_part(metadata, upload, 3)
    assert await add_part(metadata, upload, 4)
    begun = await metadata.accounts.get(ALICE)

    quotas = Quotas(files=1, stored_bytes=6)  # its parts are more, but a file is less than those
    file = a_file(size=5)
    completed = await metadata.uploads.complete(ALICE, upload.id, file, receipt="r", quotas=quotas)
    await metadata.uploads.forget(upload.id)

    assert begun == QuotaUsage(stored_bytes=7)
    assert completed is not None
    assert await metadata.accounts.get(ALICE) == QuotaUsage(files=1, stored_bytes=5)


async def test_a_part_or_file_beyond_a_quota_changes_nothing(metadata):
    upload = an_upload()
    await metadata.uploads.create(upload)
    await add_part(metadata, upload, 3, stored_bytes=6)

    with pytest.raises(OverQuota) as part:
        await add_part(metadata, upload, 4, stored_bytes=6)
    with pytest.raises(OverQuota) as file:
        await metadata.uploads.complete(
            ALICE, upload.id, a_file(size=7), receipt="r", quotas=Quotas(stored_bytes=6)
        )

    assert (part.value.name, file.value.name) == ("stored_bytes", "stored_bytes")
    assert await metadata.accounts.get(ALICE) == QuotaUsage(stored_bytes=3)
    assert await metadata.uploads.get(ALICE, upload.id) == upload
    assert len(await metadata.uploads.parts(ALICE, upload.id)) == 1


@pytest.mark.parametrize("cancelled", [True, False])
async def test_parts_that_go_give_their_room_back_once(metadata, cancelled):
    upload = an_upload()
    await metadata.uploads.create(upload)
    await add_part(metadata, upload, 3)

    if cancelled:
        assert await metadata.uploads.cancel(ALICE, upload.id, now=T0) is not None
        assert await metadata.uploads.cancel(ALICE, upload.id, now=T0) is None
    await metadata.uploads.forget(upload.id)
    await metadata.uploads.forget(upload.id)

    assert await metadata.accounts.get(ALICE) == QuotaUsage()


async def book_wrongly(metadata, tenant, wrong: QuotaUsage) -> None:
    """Change an account as a release that counts otherwise would."""
    if isinstance(metadata, SqlMetadata):
        async with metadata._database.writing() as connection:
            await book(connection, tenant, wrong)
    else:
        for name, amount in asdict(wrong).items():
            await metadata._redis.hincrby(metadata._keys.account(tenant), name, amount)


async def test_an_account_that_went_wrong_is_counted_anew(metadata):
    await metadata.files.add(a_file(size=3_000_000_000))
    await metadata.files.add(a_file(size=7))
    await metadata.files.add(a_file(tenant=BOB, size=1))
    await metadata.uploads.create(an_upload())
    await add_part(metadata, an_upload(), 3)
    await planned(metadata, shards=2)
    await finalizing(metadata)
    await metadata.batches.create(a_batch(tenant=BOB), [])
    ended = a_batch()
    await metadata.batches.create(ended, [])
    await metadata.batches.fail(ended.id, [], now=T0, events=[])
    right = await metadata.accounts.get(ALICE)
    assert right == QuotaUsage(
        files=2, stored_bytes=3_000_000_010, open_batches=2, queued_requests=30
    )

    assert not await metadata.accounts.recount(ALICE)
    await book_wrongly(
        metadata, ALICE, QuotaUsage(files=-5, stored_bytes=2**40, open_batches=1, queued_requests=9)
    )

    assert await metadata.accounts.recount(ALICE)
    assert await metadata.accounts.get(ALICE) == right
    assert await metadata.accounts.get(BOB) == QuotaUsage(files=1, stored_bytes=1, open_batches=1)
    assert not await metadata.accounts.recount(TenantId("nobody"))


async def test_every_tenant_that_has_something_has_an_account(metadata):
    names = [TenantId(name) for name in ("alice", "a:b*c[d]", "7:ünï")]
    for name in names:
        await metadata.files.add(a_file(tenant=name))

    assert {tenant async for tenant in metadata.accounts.tenants()} == set(names)


async def test_counting_anew_while_things_change_never_makes_an_account_wrong(open_metadata):
    stores = [await open_metadata() for _ in range(3)]

    async def busy(store):
        for _ in range(15):
            file = a_file(size=2)
            await store.files.add(file)
            batch = a_batch()
            await store.batches.create(batch, [])
            await store.files.delete(ALICE, file.id)
            await store.files.add(a_file(size=3))
            await store.batches.fail(batch.id, [], now=T0, events=[])

    async def recounting():
        while True:
            assert not await stores[2].accounts.recount(ALICE)

    watching = asyncio.create_task(recounting())
    await asyncio.gather(busy(stores[0]), busy(stores[1]))
    watching.cancel()
    await asyncio.wait([watching])

    assert watching.cancelled()
    assert await stores[0].accounts.get(ALICE) == QuotaUsage(files=30, stored_bytes=90)


async def test_a_batch_counts_until_it_has_ended_and_its_files_from_then_on(metadata):
    batch = await finalizing(metadata)
    running = await metadata.accounts.get(ALICE)

    await assembled(
        metadata,
        batch.id,
        now=T0,
        files=[a_file(id=FileId("file-out"), size=4), a_file(size=1)],
        counts=LineCounts(total=99, completed=99),
    )

    assert running == QuotaUsage(open_batches=1, queued_requests=10)
    assert await metadata.accounts.get(ALICE) == QuotaUsage(files=2, stored_bytes=5)


async def test_a_batch_that_fails_gives_everything_back(metadata):
    created = a_batch()
    await metadata.batches.create(created, [])
    running = await planned(metadata, shards=2)
    before = await metadata.accounts.get(ALICE)

    for batch in (created, running):
        assert await metadata.batches.fail(batch.id, [], now=T0, events=[]) is not None
        assert await metadata.batches.fail(batch.id, [], now=T0, events=[]) is None

    assert before == QuotaUsage(open_batches=2, queued_requests=20)
    assert await metadata.accounts.get(ALICE) == QuotaUsage()


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

    assert await metadata.accounts.get(ALICE) == QuotaUsage(files=1, stored_bytes=3, open_batches=1)


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
    assert await stores[0].accounts.get(ALICE) == QuotaUsage(
        files=7, stored_bytes=35, open_batches=4
    )
