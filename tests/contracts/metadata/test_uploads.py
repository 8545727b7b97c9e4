"""UploadRows: what every metadata store must do with uploads and their parts."""

import asyncio
from dataclasses import replace
from itertools import count

import pytest
from fixtures.metadata import ALICE, BOB, SECOND, T0, a_file

from batch_gateway.core.errors import Conflict
from batch_gateway.core.ids import FileId, PartId, UploadId
from batch_gateway.core.uploads import Upload, UploadPart, UploadStatus
from batch_gateway.ports.metadata import MetadataStore

GIB = 1024**3
_numbers = count(1)


def an_upload(**changes: object) -> Upload:
    fields = {
        "id": UploadId(f"upload_{next(_numbers):032x}"),
        "tenant": ALICE,
        "status": UploadStatus.PENDING,
        "purpose": "batch",
        "filename": "naïve.jsonl",
        "size": 8 * GIB,
        "created_at": T0,
        "expires_at": T0 + 3600 * SECOND,
    }
    return Upload(**(fields | changes))


def a_part(upload: Upload, **changes: object) -> UploadPart:
    fields = {
        "id": PartId(f"part_{next(_numbers):032x}"),
        "upload": upload.id,
        "size": 3 * GIB,
        "created_at": T0 + SECOND,
    }
    return UploadPart(**(fields | changes))


async def created(metadata: MetadataStore, **changes: object) -> Upload:
    upload = an_upload(**changes)
    await metadata.uploads.create(upload)
    return upload


async def add(metadata: MetadataStore, part: UploadPart, **changes: object) -> bool:
    limits = {"now": T0 + SECOND, "max_bytes": 16 * GIB, "max_parts": 100}
    return await metadata.uploads.add_part(ALICE, part, **(limits | changes))


async def test_an_upload_comes_back_as_it_was_created(metadata):
    plain = await created(metadata)
    other = await created(metadata, file_lifetime_s=3600, purpose="vision")

    assert await metadata.uploads.get(ALICE, plain.id) == plain
    assert await metadata.uploads.get(ALICE, other.id) == other


async def test_creating_a_taken_id_is_a_conflict_and_changes_nothing(metadata):
    upload = await created(metadata)

    with pytest.raises(Conflict):
        await metadata.uploads.create(replace(upload, filename="other.jsonl"))

    assert await metadata.uploads.get(ALICE, upload.id) == upload


async def test_another_tenants_upload_is_not_there(metadata):
    upload = await created(metadata)
    part = a_part(upload)
    await add(metadata, part)
    limits = {"now": T0, "max_bytes": 16 * GIB, "max_parts": 100}

    assert await metadata.uploads.get(BOB, upload.id) is None
    assert not await metadata.uploads.add_part(BOB, a_part(upload), **limits)
    assert await metadata.uploads.parts(BOB, upload.id) == []
    assert await metadata.uploads.cancel(BOB, upload.id, now=T0) is None
    assert await metadata.uploads.complete(BOB, upload.id, a_file(), receipt="r") is None
    assert await metadata.uploads.get(ALICE, upload.id) == upload
    assert await metadata.uploads.parts(ALICE, upload.id) == [part]


async def test_parts_belong_to_their_upload_alone(metadata):
    one, other = await created(metadata), await created(metadata)
    mine, theirs = [a_part(one), a_part(one, size=1)], a_part(other)

    for part in (*mine, theirs):
        assert await add(metadata, part)

    assert {part.id: part for part in await metadata.uploads.parts(ALICE, one.id)} == {
        part.id: part for part in mine
    }
    assert await metadata.uploads.parts(ALICE, other.id) == [theirs]


async def test_a_part_that_comes_when_the_upload_expires_is_not_taken(metadata):
    upload = await created(metadata)
    barely = upload.expires_at - SECOND / 1_000_000

    assert await add(metadata, a_part(upload), now=barely)

    assert not await add(metadata, a_part(upload), now=upload.expires_at)
    assert len(await metadata.uploads.parts(ALICE, upload.id)) == 1


async def test_parts_are_taken_up_to_their_number_and_bytes(metadata):
    upload = await created(metadata)

    assert await add(metadata, a_part(upload, size=3 * GIB))
    assert not await add(metadata, a_part(upload, size=3 * GIB), max_bytes=6 * GIB - 1)
    assert await add(metadata, a_part(upload, size=3 * GIB), max_bytes=6 * GIB)
    assert not await add(metadata, a_part(upload, size=0), max_parts=2)
    assert await add(metadata, a_part(upload, size=0), max_parts=3)


async def test_parts_that_come_at_once_do_not_pass_the_limits_together(metadata):
    upload = await created(metadata)

    taken = await asyncio.gather(
        *(add(metadata, a_part(upload, size=GIB), max_bytes=4 * GIB) for _ in range(8))
    )

    assert taken.count(True) == 4
    assert len(await metadata.uploads.parts(ALICE, upload.id)) == 4


async def test_completing_makes_the_file_and_ends_the_upload(metadata):
    upload = await created(metadata)
    await add(metadata, a_part(upload))
    file = a_file()

    completed = await metadata.uploads.complete(ALICE, upload.id, file, receipt="paid")

    assert completed == replace(
        upload, status=UploadStatus.COMPLETED, file_id=file.id, receipt="paid"
    )
    assert await metadata.uploads.get(ALICE, upload.id) == completed
    assert await metadata.files.get(ALICE, file.id) == file
    assert (await metadata.files.list(ALICE, limit=10)).items == [file]
    assert await metadata.uploads.parts(ALICE, upload.id) == []


@pytest.mark.parametrize("first", ["complete", "cancel"])
async def test_an_upload_that_has_ended_changes_no_more(metadata, first):
    upload = await created(metadata)
    if first == "complete":
        ended = await metadata.uploads.complete(ALICE, upload.id, a_file(), receipt="r")
    else:
        ended = await metadata.uploads.cancel(ALICE, upload.id, now=T0 + SECOND)
    late = a_file()

    assert not await add(metadata, a_part(upload))
    assert await metadata.uploads.cancel(ALICE, upload.id, now=T0 + SECOND) is None
    assert await metadata.uploads.complete(ALICE, upload.id, late, receipt="r") is None

    assert ended is not None
    assert await metadata.uploads.get(ALICE, upload.id) == ended
    assert await metadata.files.get(ALICE, late.id) is None


async def test_completing_with_a_taken_file_id_is_a_conflict_and_changes_nothing(metadata):
    upload, file = await created(metadata), a_file()
    part = a_part(upload)
    await add(metadata, part)
    await metadata.files.add(file)

    with pytest.raises(Conflict):
        await metadata.uploads.complete(ALICE, upload.id, file, receipt="r")

    assert await metadata.uploads.get(ALICE, upload.id) == upload
    assert await metadata.uploads.parts(ALICE, upload.id) == [part]


async def test_only_one_of_many_completions_at_once_makes_a_file(metadata):
    upload = await created(metadata)
    files = [a_file() for _ in range(6)]

    outcomes = await asyncio.gather(
        *(metadata.uploads.complete(ALICE, upload.id, file, receipt="r") for file in files)
    )

    (winner,) = [outcome for outcome in outcomes if outcome is not None]
    assert [file.id for file in (await metadata.files.list(ALICE, limit=10)).items] == [
        winner.file_id
    ]


async def test_cancelling_drops_the_parts(metadata):
    upload = await created(metadata)
    await add(metadata, a_part(upload))

    cancelled = await metadata.uploads.cancel(ALICE, upload.id, now=T0 + SECOND)

    assert cancelled == replace(upload, status=UploadStatus.CANCELLED)
    assert await metadata.uploads.get(ALICE, upload.id) == cancelled
    assert await metadata.uploads.parts(ALICE, upload.id) == []


async def test_an_expired_upload_is_not_cancelled_but_may_still_be_completed(metadata):
    upload = await created(metadata)

    assert await metadata.uploads.cancel(ALICE, upload.id, now=upload.expires_at) is None

    assert await metadata.uploads.complete(ALICE, upload.id, a_file(), receipt="r") is not None


async def test_expired_uploads_of_all_tenants_come_in_order_of_expiry(metadata):
    later = await created(metadata, expires_at=T0 + 2 * SECOND)
    second = await created(metadata, expires_at=T0 + SECOND)
    first = await created(metadata, expires_at=T0, tenant=BOB)
    second = await metadata.uploads.cancel(ALICE, second.id, now=T0)

    assert await metadata.uploads.expired(T0 + SECOND, 10) == [first, second]
    assert await metadata.uploads.expired(T0 + SECOND, 1) == [first]
    assert await metadata.uploads.expired(T0 + SECOND, 1, after=first) == [second]
    assert await metadata.uploads.expired(T0 + SECOND, 1, after=second) == []
    assert await metadata.uploads.expired(T0 + 9 * SECOND, 9, after=first) == [second, later]
    assert await metadata.uploads.get(ALICE, later.id) == later


async def test_a_forgotten_upload_is_gone_and_its_file_stays(metadata):
    upload, file = await created(metadata), a_file()
    kept = await created(metadata)
    await add(metadata, a_part(upload))
    await add(metadata, a_part(kept))
    await metadata.uploads.complete(ALICE, upload.id, file, receipt="r")

    await metadata.uploads.forget(upload.id)
    await metadata.uploads.forget(upload.id)

    assert await metadata.uploads.get(ALICE, upload.id) is None
    assert await metadata.uploads.expired(upload.expires_at, 10) == [kept]
    assert await metadata.files.get(ALICE, FileId(file.id)) == file
    assert len(await metadata.uploads.parts(ALICE, kept.id)) == 1


async def test_a_pending_upload_is_forgotten_with_its_parts(metadata):
    upload = await created(metadata)
    await add(metadata, a_part(upload))

    await metadata.uploads.forget(upload.id)

    assert await metadata.uploads.get(ALICE, upload.id) is None
    assert not await add(metadata, a_part(upload))
    assert await metadata.uploads.parts(ALICE, upload.id) == []
