"""/v1/models: what may be named in requests."""

from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import openai as sdk
import pytest
from fixtures.api import Server, headers_of, http_client, openai_client, running
from fixtures.raw_engine import engine as raw_engine
from fixtures.raw_engine import http as raw_answer
from fixtures.redis import free_port

from batch_gateway.settings import ApiSettings, AuthSettings
from batch_gateway.simulator.config import SimulatorConfig
from batch_gateway.simulator.server import serving


@pytest.fixture
def serve_models(tmp_path, _valkey):
    """Starts a server with these models or this engine."""

    def serve(*models: str, engine_url: str = "http://127.0.0.1:9"):
        database = f"sqlite+aiosqlite:///{tmp_path}/metadata.db"
        server = Server(tmp_path, database, _valkey, engine_url=engine_url, models=models)
        return running(server, ApiSettings(), AuthSettings(), 30)

    return serve


async def test_configured_models_are_listed_whole(serve_models, tenant):
    with serve_models("small", "org/large") as server:
        async with http_client(server, tenant) as http:
            listed = (await http.get("/v1/models")).json()

    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["small", "org/large"]
    assert listed["data"][0] == {
        "id": "small",
        "object": "model",
        "created": 0,
        "owned_by": "batch-gateway",
        "shutdown_date": None,
    }


@pytest.mark.parametrize("name", ["small", "org/large", "org/a b", "a/b/c:v1.5@main", "größe"])
async def test_a_model_of_any_name_is_retrieved(serve_models, tenant, name):
    with serve_models(name) as server:
        async with openai_client(server, tenant) as client:
            model = await client.models.retrieve(name)

    assert (model.id, model.object) == (name, "model")


@pytest.mark.parametrize("path", ["org/large", "org%2Flarge", "org%2flarge"])
async def test_slashes_come_plain_or_encoded(serve_models, path):
    with serve_models("org/large") as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            answer = await http.get(f"/v1/models/{path}")

    assert answer.json()["id"] == "org/large"


@pytest.mark.parametrize("name", ["", "other", "org/large/", "org%2F", "%00"])
def test_an_unknown_model_is_404(serve_models, name):
    with serve_models("org/large") as server:
        answer = httpx.get(f"{server.url}/v1/models/{name}")

    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error["type"] == "invalid_request_error"


async def test_the_sdk_raises_not_found_for_an_unknown_model(serve_models, tenant):
    with serve_models("a") as server:
        async with openai_client(server, tenant) as client:
            with pytest.raises(sdk.NotFoundError):
                await client.models.retrieve("b")


async def test_the_engine_is_asked_when_nothing_is_configured(
    serve_models, start_simulator, tenant
):
    engine = await start_simulator(models=("sim-a", "org/sim-b"))

    with serve_models(engine_url=engine.url) as server:
        async with openai_client(server, tenant) as client:
            listed = [model.id async for model in client.models.list()]
            found = await client.models.retrieve("org/sim-b")

    assert listed == ["sim-a", "org/sim-b"]
    assert found.created > 0


async def test_what_an_engine_served_last_is_remembered_while_it_is_away(serve_models, tenant):
    async with AsyncExitStack() as engines:
        engine = await engines.enter_async_context(
            serving(SimulatorConfig.checked(models=["sim-a"]))
        )
        with serve_models(engine_url=engine.url) as server:
            async with http_client(server, tenant) as http:
                await http.get("/v1/models")
                await engines.aclose()
                server.clock.ahead = timedelta(minutes=1)
                listed = (await http.get("/v1/models")).json()

    assert [model["id"] for model in listed["data"]] == ["sim-a"]


async def test_an_engine_that_is_away_has_no_models(serve_models, tenant):
    with serve_models(engine_url=f"http://127.0.0.1:{free_port()}") as server:
        async with http_client(server, tenant) as http:
            listed, one = await http.get("/v1/models"), await http.get("/v1/models/x")

    assert (listed.status_code, listed.json()["data"]) == (200, [])
    assert one.status_code == 404


async def test_an_engine_that_talks_nonsense_has_no_models(serve_models, start_simulator, tenant):
    engine = await start_simulator()

    with serve_models(engine_url=f"{engine.url}/nothing-here") as server:
        async with http_client(server, tenant) as http:
            listed = await http.get("/v1/models")

    assert (listed.status_code, listed.json()["data"]) == (200, [])


ODD_ENTRIES = (
    *(b'{"id":5}', b"null", b'"x"', b"{}", b'{"id":""}', rb'{"id":"a\u0000b\u001b[31m"}'),
    *(b'{"id":"odd owner","owned_by":{"a":1},"created":"2024"}',),
    *(b'{"id":"odd date","owned_by":null,"created":1e300}', b'{"id":"early","created":-1}'),
)


async def test_entries_that_name_no_model_hide_no_others(serve_models, tenant):
    listed = b'{"data":[%b,{"id":"good","created":7,"owned_by":"me"}]}' % b",".join(ODD_ENTRIES)
    async with raw_engine(lambda *_: raw_answer(listed)) as url:
        with serve_models(engine_url=url) as server:
            async with http_client(server, tenant) as http:
                shown = (await http.get("/v1/models")).json()["data"]

    assert [(one["id"], one["created"], one["owned_by"]) for one in shown] == [
        ("odd owner", 0, "engine"),
        ("odd date", 0, "engine"),
        ("early", 0, "engine"),
        ("good", 7, "me"),
    ]


async def test_models_are_shown_to_tenants_only(server):
    async with httpx.AsyncClient(base_url=server.url) as http:
        listed, one = await http.get("/v1/models"), await http.get("/v1/models/a")

    assert (listed.status_code, one.status_code) == (401, 401)


async def test_models_know_no_deletion(http, tenant):
    answer = await http.delete("/v1/models/a", headers=headers_of(tenant))

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
