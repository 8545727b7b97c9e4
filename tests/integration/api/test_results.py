"""``/v1/batches/{id}/results`` and ``/requests`` over HTTP; what they say is tested as services."""

import json
from datetime import UTC, datetime

import httpx
import openai as sdk
import pytest
from fixtures.api import http_client, openai_client
from fixtures.metadata import a_shard

from batch_gateway.adapters.local_files import LocalFiles
from batch_gateway.core.engine_response import decode
from batch_gateway.core.lines import ShardLine, answered, encode_part_line
from batch_gateway.core.model import ResultTally, ShardState
from batch_gateway.services.results.parts import write_part
from batch_gateway.settings import ApiSettings

VALID = {
    "input_file_id": "file-none",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


@pytest.fixture
async def running(openai, metadata, server):
    """A batch in progress: of its two shards of three lines, one is answered."""
    batch = await openai.batches.create(**VALID)
    row = await metadata.batches.load(batch.id)
    files = LocalFiles(server.folder / "files")
    done, other = (
        a_shard(row, index, key=f"work/{row.id}/a/{index}/lines.jsonl", lines=3)
        for index in range(2)
    )
    requests = [ShardLine(n, f"l/{n}", "/v1/chat/completions", "m", b"{}") for n in (1, 2, 3)]
    results = [
        encode_part_line(
            answered(row.id, line, decode(b'{"n":1}'), status=200, request_id="r", ok=True)
        )
        for line in requests
    ]
    part = await write_part(files, done, 0, results)
    for shard in (done, other):
        names = [f"l/{n + 3 * shard.index}" for n in (1, 2, 3)]
        lines = [[9, name, "/v1/chat/completions", "m", {}] for name in names]
        await files.put(shard.key, b"\n".join(json.dumps(line).encode() for line in lines))
    closed = a_shard(
        row,
        0,
        key=done.key,
        lines=3,
        state=ShardState.CLOSED,
        parts=(part,),
        tally=ResultTally(completed=3),
    )
    plan = {"total": 6, "model": "m", "now": datetime.now(UTC), "events": []}
    await metadata.batches.plan(row.id, [closed, other], **plan)
    return batch


async def read(openai, batch_id, **query):
    return await openai.get(
        f"/batches/{batch_id}/results", cast_to=httpx.Response, options={"params": query}
    )


async def test_a_page_has_result_lines_and_headers_that_tell_where_to_go_on(openai, running):
    first = await read(openai, running.id, limit=2)
    second = await read(openai, running.id, after=first.headers["x-next-cursor"])
    third = await read(openai, running.id, after=second.headers["x-next-cursor"])

    lines = [json.loads(line) for line in (first.text + second.text).splitlines()]
    assert first.headers["content-type"] == "application/jsonl"
    assert [line["custom_id"] for line in lines] == ["l/1", "l/2", "l/3"]
    assert lines[0]["response"] == {"status_code": 200, "request_id": "r", "body": {"n": 1}}
    assert (third.text, third.headers["x-has-more"]) == ("", "true")


async def test_who_follows_gets_lines_and_standings_that_are_cursors(serve_api, tenant):
    with serve_api(ApiSettings(follow_s=0.2)) as server:
        async with http_client(server, tenant) as http:
            batch = (await http.post("/v1/batches", json=VALID)).json()["id"]
            path = f"/v1/batches/{batch}/results"
            async with http.stream("GET", path, params={"follow": "true"}) as stream:
                lines = [line async for line in stream.aiter_lines()]
            last = json.loads(lines[-1])
            after = await http.get(path, params={"after": last["cursor"]})
            head = await http.head(path, params={"follow": "true"})

    assert last["status"] == "validating"
    assert after.headers["x-has-more"] == "true"
    assert (head.status_code, head.text) == (200, "")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"after": "batch_1"}, "after"),
        ({"after": "0"}, "after"),
        ({"limit": "10001"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"follow": "yes"}, "follow"),
    ],
    ids=str,
)
async def test_a_question_that_makes_no_sense_is_refused(openai, running, query, param):
    with pytest.raises(sdk.BadRequestError) as refused:
        await read(openai, running.id, **query)

    assert refused.value.param == param


async def test_a_request_is_found_by_its_name(openai, running):
    async def found(custom_id):
        return await openai.get(
            f"/batches/{running.id}/requests",
            cast_to=object,
            options={"params": {"custom_id": custom_id}},
        )

    with pytest.raises(sdk.NotFoundError) as missing:
        await found("l")
    with pytest.raises(sdk.BadRequestError) as unnamed:
        await openai.get(f"/batches/{running.id}/requests", cast_to=object)

    pending = await found("l/5")
    assert pending == {
        "object": "batch.request",
        "batch_id": running.id,
        "custom_id": "l/5",
        "status": "pending",
        "result": None,
    }
    assert (missing.value.param, unnamed.value.param) == ("custom_id", "custom_id")


async def test_another_tenants_results_and_requests_do_not_exist(stranger, running):
    for path in ("results", "results?follow=true", "requests?custom_id=l/1"):
        with pytest.raises(sdk.NotFoundError, match="No batch found"):
            await stranger.get(f"/batches/{running.id}/{path}", cast_to=object)


async def test_strict_mode_has_neither(serve_api, tenant):
    with serve_api(ApiSettings(mode="strict")) as server:
        async with openai_client(server, tenant) as openai:
            batch = await openai.batches.create(**VALID)
            for path in ("results", "requests"):
                with pytest.raises(sdk.NotFoundError, match="Invalid URL"):
                    await openai.get(f"/batches/{batch.id}/{path}", cast_to=object)
