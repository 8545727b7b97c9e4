"""Batches that bring their requests with them."""

import json

import openai as sdk
import pytest
from fixtures.api import openai_client
from fixtures.gateway import chat_lines

from batch_gateway.settings import ApiSettings

TERMS = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": %s}'


async def create(openai, requests, **terms):
    """The SDK demands an input file, so it is not its own method."""
    return await openai.post("/batches", cast_to=sdk.types.Batch, body=TERMS | terms | requests)


async def test_requests_become_an_input_file_of_the_tenant(openai):
    lines = chat_lines(3)

    batch = await create(openai, {"requests": lines})

    file = await openai.files.retrieve(batch.input_file_id)
    assert (batch.status, file.purpose, file.filename) == ("validating", "batch", "requests.jsonl")
    content = (await openai.files.content(file.id)).content
    assert [json.loads(line) for line in content.splitlines()] == lines


async def test_the_sdks_own_method_takes_them_as_extra_body(openai):
    batch = await openai.batches.create(
        input_file_id=None, **TERMS, extra_body={"requests": chat_lines(2)}
    )

    assert (await openai.files.content(batch.input_file_id)).content.count(b"\n") == 2


@pytest.mark.parametrize("nothing", [None, ""])
async def test_an_empty_input_file_id_beside_requests_says_nothing(openai, nothing):
    batch = await create(openai, {"requests": chat_lines(1), "input_file_id": nothing})

    assert (await openai.files.content(batch.input_file_id)).content.count(b"\n") == 1


@pytest.mark.parametrize(
    ("nothing", "code"), [(None, "invalid_type"), ("", "empty_string")], ids=["null", "empty"]
)
async def test_an_empty_input_file_id_alone_is_refused(openai, nothing, code):
    with pytest.raises(sdk.BadRequestError) as refused:
        await create(openai, {"input_file_id": nothing})

    assert (refused.value.param, refused.value.code) == ("input_file_id", code)


async def test_every_request_is_kept_byte_for_byte_on_one_line(http, openai):
    body = b'{"model":"m", "seed": 12345678901234567890123,\r\n "x":1.0, "key":"\\u00fc", "x":2}'
    raw = b'{"requests" : [ %s , %s ],"endpoint":"/v1/chat/completions","completion_window":"24h"}'
    line = LINE % body

    answer = await http.post("/v1/batches", content=raw % (line, line))

    content = (await openai.files.content(answer.json()["input_file_id"])).content
    assert content == (line.replace(b"\r\n", b"  ") + b"\n") * 2


async def test_ten_thousand_requests_are_taken_and_one_more_is_not(openai):
    batch = await create(openai, {"requests": [{"custom_id": "a"}] * 10_000})
    with pytest.raises(sdk.BadRequestError) as refused:
        await create(openai, {"requests": [{"custom_id": "a"}] * 10_001})

    assert (await openai.files.content(batch.input_file_id)).content.count(b"\n") == 10_000
    assert (refused.value.param, refused.value.code) == ("requests", "array_above_max_length")


@pytest.mark.parametrize(
    ("terms", "param", "code"),
    [
        ({"requests": []}, "requests", "empty_array"),
        ({"requests": "all"}, "requests", "invalid_type"),
        ({"requests": {"a": 1}}, "requests", "invalid_type"),
        ({"requests": [{}, 5]}, "requests.1", "invalid_type"),
        ({"requests": [{}], "input_file_id": "file-1"}, "requests", "invalid_value"),
        ({"requests": None}, "input_file_id", "missing_required_parameter"),
        ({"requests": [{}], "endpoint": "/v1/nothing"}, "endpoint", "invalid_value"),
        ({"requests": [{}], "completion_window": "1s"}, "completion_window", "invalid_value"),
        ({"requests": [{}], "metadata": 5}, "metadata", "invalid_type"),
    ],
    ids=range(9),
)
async def test_a_refused_batch_leaves_no_file(openai, server, terms, param, code):
    before = server.blobs()

    with pytest.raises(sdk.BadRequestError) as refused:
        await create(openai, terms)

    assert (refused.value.param, refused.value.code) == (param, code)
    assert server.blobs() == before
    assert (await openai.files.list()).data == []


async def test_the_input_file_of_another_tenants_requests_is_not_found(openai, stranger):
    batch = await create(openai, {"requests": chat_lines(1)})

    with pytest.raises(sdk.NotFoundError):
        await stranger.files.content(batch.input_file_id)


async def test_strict_mode_takes_no_inline_requests(serve_api, tenant):
    with serve_api(ApiSettings(mode="strict")) as server:
        async with openai_client(server, tenant) as openai:
            with pytest.raises(sdk.BadRequestError) as refused:
                await create(openai, {"requests": chat_lines(1)}, input_file_id="file-1")

    assert refused.value.body["message"] == "Unrecognized request argument supplied: requests"
