"""Uploads in parts between the events: what a crash or an expiry leaves, and races with them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from batch_gateway.core.errors import InvalidRequest, NotFound
from batch_gateway.core.ids import TenantId
from batch_gateway.core.uploads import Upload, UploadPart
from batch_gateway.services.files.dependencies import FileDependencies
from batch_gateway.services.files.uploads import LIFETIME, NewUpload, UploadService
from batch_gateway.settings import ApiSettings

pytestmark = pytest.mark.redis

ALICE = TenantId("alice")
LONG_AFTER = LIFETIME + timedelta(hours=1, seconds=1)


@pytest.fixture
def uploads(world) -> UploadService:
    dependencies = FileDependencies(
        metadata=world.metadata, files=world.files, clock=world.clock, api=ApiSettings()
    )
    return UploadService(dependencies)


async def create(uploads: UploadService, size: int) -> Upload:
    return await uploads.create(ALICE, NewUpload(filename="in.bin", purpose="evals", size=size))


async def add(
    uploads: UploadService, upload: Upload, content: bytes | AsyncIterator[bytes]
) -> UploadPart:
    async with uploads.part(ALICE, upload.id) as part:
        await part.store(pieces(content) if isinstance(content, bytes) else content)
        return await part.keep()


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def blobs(world) -> list[str]:
    found = [blob.key async for blob in world.files.list("uploads/")]
    return found + [blob.key async for blob in world.files.list("files/")]


async def test_a_sweep_forgets_an_upload_long_after_its_expiry_with_all_its_parts(world, uploads):
    upload = await create(uploads, 2)
    await add(uploads, upload, b"a")
    await world.files.put(f"uploads/{upload.id}/part_of-a-crashed-request", b"b")

    world.clock.ahead = LIFETIME + timedelta(minutes=1)
    await world.janitor.sweep()
    assert len(await blobs(world)) == 2, "somebody may be completing it still"

    world.clock.ahead = LONG_AFTER
    await asyncio.sleep(0.01)
    await world.janitor.sweep()
    assert await blobs(world) == []
    assert await world.metadata.uploads.get(ALICE, upload.id) is None
    with pytest.raises(NotFound):
        await add(uploads, upload, b"a")


async def test_a_sweep_forgets_a_completed_upload_and_keeps_its_file(world, uploads):
    upload = await create(uploads, 1)
    part = await add(uploads, upload, b"a")
    _, file = await uploads.complete(ALICE, upload.id, [part.id], None)
    world.clock.ahead = LONG_AFTER

    await world.janitor.sweep()

    assert await blobs(world) == [file.key]
    assert await world.metadata.uploads.get(ALICE, upload.id) is None
    assert await world.metadata.files.get(ALICE, file.id) == file


async def test_a_sweep_leaves_an_upload_that_goes_on(world, uploads):
    upload = await create(uploads, 1)
    part = await add(uploads, upload, b"a")

    await world.janitor.sweep()

    _, file = await uploads.complete(ALICE, upload.id, [part.id], None)
    assert file.size == 1


async def test_a_part_that_arrives_after_the_end_leaves_nothing(world, uploads):
    upload = await create(uploads, 1)

    async def cancelled_meanwhile() -> AsyncIterator[bytes]:
        yield b"late"
        await uploads.cancel(ALICE, upload.id)

    with pytest.raises(InvalidRequest, match="it is cancelled"):
        await add(uploads, upload, cancelled_meanwhile())

    assert await blobs(world) == []


async def test_a_part_that_arrives_after_the_expiry_leaves_nothing(world, uploads):
    upload = await create(uploads, 1)

    async def expired_meanwhile() -> AsyncIterator[bytes]:
        yield b"late"
        world.clock.ahead = LIFETIME

    with pytest.raises(InvalidRequest, match="it is expired"):
        await add(uploads, upload, expired_meanwhile())

    assert await blobs(world) == []


@pytest.mark.parametrize("steps", [1, 5, 20, 60, 120])
async def test_an_upload_is_either_completed_or_cancelled(world, uploads, steps):
    upload = await create(uploads, 2)
    parts = [(await add(uploads, upload, content)).id for content in (b"a", b"b")]

    completing = asyncio.create_task(uploads.complete(ALICE, upload.id, parts, None))
    for _ in range(steps):
        await asyncio.sleep(0)
    cancelled, completed = await asyncio.gather(
        uploads.cancel(ALICE, upload.id), completing, return_exceptions=True
    )

    refused = [each for each in (cancelled, completed) if isinstance(each, InvalidRequest)]
    assert len(refused) == 1
    files = (await world.metadata.files.list(ALICE, limit=10)).items
    assert await blobs(world) == [file.key for file in files]
    assert len(files) == (refused == [cancelled])


@pytest.mark.parametrize("steps", [1, 5, 20, 60])
async def test_a_completion_that_is_given_up_can_be_asked_for_again(world, uploads, steps):
    upload = await create(uploads, 2)
    parts = [(await add(uploads, upload, content)).id for content in (b"a", b"b")]

    completing = asyncio.create_task(uploads.complete(ALICE, upload.id, parts, None))
    for _ in range(steps):
        await asyncio.sleep(0)
    completing.cancel()
    await asyncio.gather(completing, return_exceptions=True)
    _, file = await uploads.complete(ALICE, upload.id, parts, None)

    assert [key for key in await blobs(world) if key.startswith("files/")] == [file.key]
    content = b"".join([chunk async for chunk in world.files.read(file.key)])
    assert content == b"ab"
