"""The same job on every kind of store: what one machine has, and what a cluster has."""

import json

import pytest
from fixtures import extensions, odd, tenants
from fixtures.gateway import CHAT, chat_lines, custom_ids, encoded, read_results
from fixtures.redis import redis62_server, valkey_server
from openai.types import Batch

pytestmark = pytest.mark.e2e


async def submit_in_parts(gateway, content):
    upload = await gateway.client.uploads.upload_file_chunked(
        file=content,
        filename="input.jsonl",
        bytes=len(content),
        mime_type="application/jsonl",
        purpose="batch",
        part_size=len(content) // 3,
    )
    return await gateway.client.batches.create(
        input_file_id=upload.file.id, endpoint=CHAT, completion_window="24h"
    )


async def assert_the_job_is_done(gateway):
    lines = chat_lines(600)
    lines[7]["body"]["model"] = "nobody"

    batch = await gateway.ended(await submit_in_parts(gateway, encoded(lines)))
    output, errors = await gateway.results(batch)
    assert batch.status == "completed"
    assert custom_ids(output) == [f"line-{n}" for n in range(1, 601) if n != 8]
    assert custom_ids(errors) == ["line-8"]

    batch = await gateway.submit(b'{"custom_id": "a"}\n')
    failed = await gateway.ended(batch)
    assert [error.code for error in failed.errors.data] == ["missing_required_parameter"]

    await gateway.configure(ttft_ms=1000)
    batch = await gateway.halfway(await gateway.submit(chat_lines(300)), done=10)
    cancelled = await gateway.ended(await gateway.client.batches.cancel(batch.id))
    output, errors = await gateway.results(cancelled)
    assert cancelled.status == "cancelled"
    assert len(output) + len(errors) == 300
    await assert_the_rest_is_done(gateway, cancelled, output)


async def assert_the_rest_is_done(gateway, cancelled, before):
    """A retry, its results read while it runs."""
    await gateway.configure(ttft_ms=10)
    retry = await gateway.client.post(f"/batches/{cancelled.id}/retry", cast_to=Batch)
    given = await read_results(gateway.client, retry.id)
    output, errors = await gateway.results(await gateway.ended(retry))

    assert errors == []
    assert custom_ids(output) == [f"line-{n}" for n in range(1, 301)]
    assert sorted(map(json.dumps, given)) == sorted(map(json.dumps, output))
    assert all(line in output for line in before)


@pytest.mark.postgres
@pytest.mark.s3
async def test_postgresql_s3_and_redis_62(
    start_gateway, start_receiver, postgres_url, s3_server, tmp_path
):
    with redis62_server(tmp_path / "redis") as redis_url:
        gateway = await start_gateway(
            settings={
                "metadata": {"url": postgres_url, "migrate": True},
                "scratch": {"url": redis_url},
                "files": s3_server.settings,
                **tenants.SETTINGS,
            }
        )
        await tenants.work(gateway, start_receiver)

        gateway.client = tenants.client_of(gateway, "carol")
        await assert_the_job_is_done(gateway)
        await extensions.work(gateway)
        await odd.work(gateway)


@pytest.mark.usefixtures("installed_plugin")
async def test_valkey_and_the_file_store_of_an_installed_package(
    start_gateway, start_receiver, tmp_path
):
    with valkey_server(tmp_path / "metadata", appendonly=True) as url:
        files = {"url": f"folder://{tmp_path}/blobs"}
        settings = {"metadata": {"url": url}, "files": files, **tenants.SETTINGS}
        gateway = await start_gateway(settings=settings)
        await tenants.work(gateway, start_receiver)

        gateway.client = tenants.client_of(gateway, "carol")
        await assert_the_job_is_done(gateway)
        await extensions.work(gateway)
        await odd.work(gateway)


async def test_sqlite_a_folder_and_valkey(start_gateway):
    gateway = await start_gateway()

    await assert_the_job_is_done(gateway)
    await odd.work(gateway)
