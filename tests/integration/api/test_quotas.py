"""How much a tenant may have at a time, over HTTP."""

import asyncio

import openai as sdk
import pytest
from fixtures.api import openai_client

from batch_gateway.core.ids import TenantId
from batch_gateway.settings import QuotaSettings

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'
BATCH = {
    "input_file_id": "file-none",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}
ALICE, BOB = TenantId("quota-alice"), TenantId("quota-bob")


def quota(**limits) -> QuotaSettings:
    none = {"files": 0, "stored_bytes": 0, "open_batches": 0, "queued_requests": 0}
    return QuotaSettings(batches_per_hour=0, uploads_per_minute=0, **(none | limits))


async def upload(openai, content=LINE):
    return await openai.files.create(file=("in.jsonl", content), purpose="batch")


async def begin_upload(openai, size):
    return await openai.uploads.create(
        bytes=size, filename="a.txt", mime_type="text/plain", purpose="evals"
    )


async def test_who_has_too_many_files_deletes_one_first(serve_api):
    with serve_api(quota=quota(files=1)) as server:
        async with openai_client(server, ALICE) as alice, openai_client(server, BOB) as bob:
            first = await upload(alice)
            with pytest.raises(sdk.BadRequestError) as refused:
                await upload(alice)
            with pytest.raises(sdk.BadRequestError):
                await begin_upload(alice, 1)
            with pytest.raises(sdk.BadRequestError):
                await alice.batches.create(
                    endpoint=BATCH["endpoint"],
                    completion_window="24h",
                    input_file_id=sdk.omit,
                    extra_body={"requests": [{"custom_id": "1"}]},
                )
            blobs = server.blobs()
            await upload(bob)
            await alice.files.delete(first.id)
            await upload(alice)

    assert refused.value.body == {
        "message": "You have exceeded your file storage quota. Tenants are limited to 1 files.",
        "type": "invalid_request_error",
        "param": None,
        "code": "file_storage_quota_exceeded",
    }
    assert len(blobs) == 1


async def test_who_has_too_many_bytes_is_told_the_limit_and_leaves_nothing_behind(serve_api):
    with serve_api(quota=quota(stored_bytes=100)) as server:
        async with openai_client(server, ALICE) as alice:
            await upload(alice)
            with pytest.raises(sdk.BadRequestError, match="limited to 100 bytes of files"):
                await upload(alice)
            with pytest.raises(sdk.BadRequestError, match="limited to 100 bytes of files"):
                await begin_upload(alice, 101 - len(LINE))
            begun = await begin_upload(alice, 100 - len(LINE))
            part = await alice.uploads.parts.create(begun.id, data=b"x" * (100 - len(LINE)))
            done = await alice.uploads.complete(begun.id, part_ids=[part.id])
            blobs = server.blobs()

    assert done.file.bytes == 100 - len(LINE)
    assert len([name for name in blobs if "/files/" in name]) == 2


async def test_parts_that_nobody_completes_take_room_until_they_are_given_up(serve_api):
    with serve_api(quota=quota(stored_bytes=100)) as server:
        async with openai_client(server, ALICE) as alice, openai_client(server, BOB) as bob:
            begun, other = await begin_upload(alice, 60), await begin_upload(alice, 60)
            await alice.uploads.parts.create(begun.id, data=b"x" * 60)
            with pytest.raises(sdk.BadRequestError, match="limited to 100 bytes of files"):
                await alice.uploads.parts.create(other.id, data=b"x" * 60)
            with pytest.raises(sdk.BadRequestError, match="limited to 100 bytes of files"):
                await upload(alice)
            await upload(bob)
            blobs = server.blobs()
            await alice.uploads.cancel(begun.id)
            part = await alice.uploads.parts.create(other.id, data=b"x" * 60)
            done = await alice.uploads.complete(other.id, part_ids=[part.id])

    assert len([name for name in blobs if "/uploads/" in name]) == 1
    assert done.file.bytes == 60


async def test_uploads_that_become_files_too_late_are_refused(serve_api):
    with serve_api(quota=quota(files=1)) as server:
        async with openai_client(server, ALICE) as alice:
            begun = await begin_upload(alice, 3)
            part = await alice.uploads.parts.create(begun.id, data=b"abc")
            file = await upload(alice)
            with pytest.raises(sdk.BadRequestError, match="file storage quota"):
                await alice.uploads.complete(begun.id, part_ids=[part.id])
            await alice.files.delete(file.id)
            done = await alice.uploads.complete(begun.id, part_ids=[part.id])

    assert done.status == "completed"


async def test_who_has_too_many_open_batches_waits_for_one_to_end(serve_api):
    with serve_api(quota=quota(open_batches=2)) as server:
        async with openai_client(server, ALICE) as alice, openai_client(server, BOB) as bob:
            made = await asyncio.gather(
                *(alice.batches.create(**BATCH) for _ in range(6)), return_exceptions=True
            )
            await bob.batches.create(**BATCH)
            async with server.metadata() as store:
                done = next(batch for batch in made if not isinstance(batch, Exception))
                now = server.clock.now()
                await store.batches.fail(done.id, [], now=now, events=[])
            await alice.batches.create(**BATCH)

    errors = [error for error in made if isinstance(error, sdk.RateLimitError)]
    assert len(errors) == 4
    assert errors[0].code == "open_batches_limit_exceeded"
    assert errors[0].response.headers["x-should-retry"] == "false"
    assert 1 <= int(errors[0].response.headers["retry-after"]) <= 120
