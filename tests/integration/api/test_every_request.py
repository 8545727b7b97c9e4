"""What holds for all routes: ids, headers, the error form, authentication, isolation."""

import re
import shutil
from datetime import UTC, datetime

import httpx
import openai as sdk
import pytest
from fixtures.api import SECRET, headers_of, http_client, openai_client
from fixtures.metadata import a_shard
from fixtures.redis import free_port

from batch_gateway.core.ids import TenantId
from batch_gateway.settings import AuthSettings

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'


@pytest.mark.parametrize(
    "path", ["/v1/files", "/v1/batches", "/v1/files/none", "/v1/nothing", "/v1/batches?limit=-1"]
)
async def test_every_answer_has_an_id_and_its_duration(http, path):
    answer = await http.get(path)

    assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.headers["openai-processing-ms"].isdecimal()
    assert answer.headers["openai-version"] == "2020-10-01"


async def test_a_sane_request_id_is_echoed(http):
    answer = await http.get("/v1/files/none", headers={"x-request-id": "my-id_1.2"})

    assert answer.headers["x-request-id"] == "my-id_1.2"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "ä"])
async def test_an_odd_request_id_is_replaced(http, given):
    answer = await http.get("/v1/files", headers={"x-request-id": given.encode("latin-1")})

    assert answer.headers["x-request-id"].startswith("req_")


async def test_the_sdk_finds_the_request_id_of_an_error(openai):
    with pytest.raises(sdk.NotFoundError) as missing:
        await openai.batches.retrieve("batch_none")

    assert missing.value.request_id.startswith("req_")


@pytest.mark.parametrize("path", ["/v1/", "/v1/files/", "/v1/files/a/b/c", "/v2/files"])
async def test_an_unknown_url_is_404_in_the_envelope(http, path):
    answer = await http.get(path)

    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": f"Invalid URL (GET {path})",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/files", "GET, HEAD, POST"),
        ("POST", "/v1/files/file-1", "DELETE, GET, HEAD"),
        ("DELETE", "/v1/files/file-1/content", "GET, HEAD"),
        ("GET", "/v1/uploads", "POST"),
        ("PATCH", "/v1/batches", "GET, HEAD, POST"),
        ("PUT", "/v1/batches/batch_1", "DELETE, GET, HEAD"),
        ("GET", "/v1/batches/batch_1/cancel", "POST"),
    ],
)
async def test_a_wrong_method_is_405_and_told_the_right_ones(http, method, path, allowed):
    answer = await http.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    error = answer.json()["error"]
    assert error["message"].startswith(f"Not allowed to {method} on {path}")
    assert error["code"] == "method_not_supported"


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches/batch_1", "/docs"])
async def test_options_tells_the_methods_to_anybody(server, path):
    async with httpx.AsyncClient(base_url=server.url) as anybody:
        answer = await anybody.options(path)
        refusal = await anybody.patch(path)

    assert (answer.status_code, answer.text) == (204, "")
    assert answer.headers["allow"] == refusal.headers["allow"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("TRACE", "/v1/nothing"), ("OPTIONS", "/v1/nothing"), ("GET", "/robots.txt")],
)
async def test_what_the_framework_would_answer_itself_is_404_in_the_envelope(http, method, path):
    answer = await http.request(method, path)

    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"Invalid URL ({method} {path})"


# -- authentication -------------------------------------------------------------------------------

ROUTES = [
    ("GET", "/v1/files"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files/file-1"),
    ("DELETE", "/v1/files/file-1"),
    ("GET", "/v1/files/file-1/content"),
    ("POST", "/v1/uploads"),
    ("POST", "/v1/uploads/upload_1/parts"),
    ("POST", "/v1/uploads/upload_1/complete"),
    ("POST", "/v1/uploads/upload_1/cancel"),
    ("GET", "/v1/batches"),
    ("POST", "/v1/batches"),
    ("GET", "/v1/batches/batch_1"),
    ("POST", "/v1/batches/batch_1/cancel"),
    ("POST", "/v1/batches/batch_1/retry"),
    ("GET", "/v1/batches/batch_1/results"),
    ("GET", "/v1/batches/batch_1/requests"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda value: value)
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, None),
        ({"x-gateway-tenant": "a"}, None),
        ({"x-gateway-secret": "wrong", "x-gateway-tenant": "a"}, "invalid_api_key"),
        ({"x-gateway-secret": "wröng".encode(), "x-gateway-tenant": "a"}, "invalid_api_key"),
        ({"x-gateway-secret": SECRET}, None),
        ({"x-gateway-secret": SECRET, "x-gateway-tenant": ""}, None),
        ({"x-gateway-secret": SECRET, "x-gateway-tenant": "a b"}, None),
        ({"x-gateway-secret": SECRET, "x-gateway-tenant": "x" * 129}, None),
    ],
    ids=range(8),
)
async def test_who_cannot_be_told_is_answered_401(server, method, path, headers, code):
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.request(method, path, headers=headers)

    assert answer.status_code == 401
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


async def test_the_sdk_raises_authentication_error(server, tenant):
    client = sdk.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="wrong")
    async with client:
        with pytest.raises(sdk.AuthenticationError):
            await client.files.list()


@pytest.mark.parametrize("name", ["a", "org/project:7", "a.b_c-d@e", "x" * 128])
async def test_a_tenant_may_have_any_sane_name(server, name):
    async with http_client(server, TenantId(name)) as http:
        answer = await http.get("/v1/files")

    assert answer.status_code == 200


async def test_without_an_authenticator_everybody_is_the_same_tenant(serve_api):
    with serve_api(auth=AuthSettings()) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            await http.post(
                "/v1/files", files={"file": ("in.jsonl", LINE)}, data={"purpose": "batch"}
            )
            answer = await http.get("/v1/files", headers=headers_of(TenantId("somebody")))

    assert len(answer.json()["data"]) == 1


# -- isolation ------------------------------------------------------------------------------------


async def test_another_tenants_files_do_not_exist(openai, stranger):
    file = await openai.files.create(file=("in.jsonl", LINE), purpose="batch")

    for attempt in (
        stranger.files.retrieve(file.id),
        stranger.files.content(file.id),
        stranger.files.delete(file.id),
    ):
        with pytest.raises(sdk.NotFoundError):
            await attempt
    with pytest.raises(sdk.BadRequestError):
        await stranger.files.list(after=file.id)
    assert (await stranger.files.list()).data == []
    assert (await openai.files.retrieve(file.id)).id == file.id


async def test_another_tenants_batches_do_not_exist(openai, stranger):
    batch = await openai.batches.create(
        input_file_id="file-none", endpoint="/v1/embeddings", completion_window="24h"
    )

    for attempt in (stranger.batches.retrieve(batch.id), stranger.batches.cancel(batch.id)):
        with pytest.raises(sdk.NotFoundError):
            await attempt
    with pytest.raises(sdk.BadRequestError):
        await stranger.batches.list(after=batch.id)
    assert (await stranger.batches.list()).data == []
    assert (await openai.batches.retrieve(batch.id)).status == "validating"


# -- probes, and what is away ---------------------------------------------------------------------


async def test_probes_need_no_authentication(server):
    async with httpx.AsyncClient(base_url=server.url) as http:
        alive, is_ready = await http.get("/healthz"), await http.get("/readyz")

    assert (alive.status_code, is_ready.status_code) == (200, 200)


async def test_not_being_ready_names_what_is_away(server, http):
    server.dependencies["files"] = "no space left"

    answer = await http.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["reason"] == "files: no space left"


async def test_requests_are_counted_by_route(http):
    await http.get("/v1/files/file-none")
    await http.get("/v1/no-such-path")

    counted = (await http.get("/metrics")).text

    name = "batch_gateway_http_requests_total"
    assert f'{name}{{method="GET",route="/v1/files/{{file_id}}",status="404"}}' in counted
    assert f'{name}{{method="GET",route="unknown",status="404"}}' in counted
    assert "no-such-path" not in counted


async def test_a_store_that_is_away_is_503_and_worth_another_try(serve_api, tenant):
    with serve_api() as server:
        files = server.folder / "files"
        async with http_client(server, tenant) as http:
            shutil.rmtree(files, ignore_errors=True)
            files.touch()  # no folder can be made there

            answer = await http.post(
                "/v1/files", files={"file": ("in.jsonl", LINE)}, data={"purpose": "batch"}
            )

    assert answer.status_code == 503
    assert 0 < int(answer.headers["retry-after"]) <= 120
    assert answer.json()["error"]["type"] == "server_error"
    assert "files" not in answer.text


async def test_without_the_scratch_server_a_batch_is_served_from_the_database(serve_api, tenant):
    dead = f"redis://127.0.0.1:{free_port()}/0"
    with serve_api(scratch_url=dead) as server:
        async with openai_client(server, tenant) as openai, server.metadata() as metadata:
            batch = await openai.batches.create(
                input_file_id="file-none", endpoint="/v1/embeddings", completion_window="24h"
            )
            row = await metadata.batches.load(batch.id)
            await metadata.batches.plan(
                row.id, [a_shard(row, 0)], total=10, model="m", now=datetime.now(UTC), events=[]
            )
            seen = await openai.batches.retrieve(batch.id)
            ended = await openai.batches.cancel(batch.id)

    assert seen.request_counts.to_dict() == {"total": 10, "completed": 0, "failed": 0}
    assert ended.status == "cancelling"


async def test_a_blob_that_is_too_short_never_looks_whole(openai, http, metadata, server, tenant):
    file = await openai.files.create(file=("in.bin", b"x" * 5_000_000), purpose="vision")
    row = await metadata.files.get(tenant, file.id)
    with (server.folder / "files" / row.key).open("r+b") as blob:
        blob.truncate(2_000_000)

    with pytest.raises(httpx.RemoteProtocolError):
        await http.get(f"/v1/files/{file.id}/content")
