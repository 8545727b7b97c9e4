"""Uploads to a full store: refused before their bytes are sent; retries end."""

import asyncio
from datetime import timedelta

import httpx
import openai as sdk
import pytest
from fixtures.api import headers_of

from batch_gateway.core.model import BatchBlockedReason
from batch_gateway.services.full_stores import KEPT
from batch_gateway.settings import CoordinationSettings, Settings
from batch_gateway.wiring.stores import open_scratch_server

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'


@pytest.fixture
async def coordination(server):
    settings = Settings(scratch=CoordinationSettings(url=server.scratch_url, prefix="api-test"))
    coordination = open_scratch_server(settings)
    yield coordination
    for store in ("files", "metadata"):
        await _has_room(coordination, store)
    await coordination.close()


async def _has_room(coordination, store):
    """As if the time of the report were over."""
    await coordination.full_stores.report(store, timedelta(milliseconds=1))
    async with asyncio.timeout(45):
        while store in await coordination.full_stores.stores():
            await asyncio.sleep(0.01)


async def test_a_file_is_refused_early_until_there_is_room(server, openai, coordination):
    before = server.blobs()
    await coordination.full_stores.report("files", KEPT)

    with pytest.raises(sdk.InternalServerError) as raised:
        await openai.files.create(file=("in.jsonl", LINE), purpose="batch")
    refused = raised.value
    assert refused.status_code == 507
    assert (refused.code, refused.type, refused.param) == ("storage_full", "server_error", None)
    assert refused.response.headers["x-should-retry"] == "false"
    assert int(refused.response.headers["retry-after"]) <= 60
    assert server.blobs() == before

    await _has_room(coordination, "files")
    assert (await openai.files.create(file=("in.jsonl", LINE), purpose="batch")).bytes == len(LINE)


async def test_no_byte_of_a_file_is_waited_for(server, tenant, coordination):
    await coordination.full_stores.report("metadata", KEPT)
    head = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
    )

    async def content():
        yield head + LINE
        for _ in range(200):
            yield LINE * 10_000  # 140 MB, of which most is never asked for

    form = {"content-type": "multipart/form-data; boundary=x"} | headers_of(tenant)
    async with httpx.AsyncClient(base_url=server.url, headers=form, timeout=60) as http:
        answer = await http.post("/v1/files", content=content())

    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "storage_full")


async def test_uploads_in_parts_are_refused_too(openai, coordination):
    upload = await openai.uploads.create(
        filename="in.jsonl", purpose="batch", bytes=len(LINE), mime_type="application/jsonl"
    )
    await coordination.full_stores.report("files", KEPT)

    for ask in (
        openai.uploads.parts.create(upload.id, data=LINE),
        openai.uploads.create(
            filename="b.jsonl", purpose="batch", bytes=10, mime_type="application/jsonl"
        ),
    ):
        with pytest.raises(sdk.InternalServerError) as raised:
            await ask
        assert raised.value.code == "storage_full"


async def test_a_batch_says_that_it_waits_for_room(openai, coordination):
    file = await openai.files.create(file=("in.jsonl", LINE), purpose="batch")
    batch = await openai.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert batch.blocked_reason is None

    async def is_blocked_by(reason):
        """Both by itself and in the list; what Redis says is kept for a moment."""
        async with asyncio.timeout(90):
            while (await openai.batches.retrieve(batch.id)).blocked_reason != reason:
                await asyncio.sleep(0.05)
        (listed,) = (await openai.batches.list()).data
        assert listed.blocked_reason == reason

    await coordination.full_stores.report("files", KEPT)
    await is_blocked_by(BatchBlockedReason.STORAGE_FULL)

    await _has_room(coordination, "files")
    await is_blocked_by(None)
