"""To a tenant, what another one has does not exist: a walk through every route of the service.

The routes are those of ``/openapi.json``. One whose path names something is asked for something of
another tenant, and must answer to the letter as if there were no such thing. One that names things
elsewhere (in a body or a query) is listed here with how it does; a new route that is not fails the
test.
"""

import re
from datetime import UTC, datetime

import pytest
from fixtures.api import http_client
from fixtures.metadata import assembled

from batch_gateway.core.ids import TenantId

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'
CREATE = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}

#: Parameters in paths that name nothing of a tenant's, and a value that they may have.
OF_NOBODY = {"model": "m"}

#: What a request must bring along for its names to be looked at.
SENT = {
    ("POST", "/v1/uploads/{upload_id}/parts"): {"files": {"data": ("data", b"x")}},
    ("POST", "/v1/uploads/{upload_id}/complete"): {"json": {"part_ids": ["part_1"]}},
    ("POST", "/v1/batches/{batch_id}/update"): {"json": {"priority": 1}},
    ("POST", "/v1/webhook_endpoints/{endpoint_id}/test"): {"json": {"event_type": "batch.failed"}},
    ("GET", "/v1/batches/{batch_id}/requests"): {"params": {"custom_id": "1"}},
}

#: Routes that name nothing of a tenant's in their path; the tests below see to them.
COLLECTIONS = {
    ("GET", "/v1/files"): "lists",
    ("POST", "/v1/files"): "names nothing",
    ("POST", "/v1/uploads"): "names nothing",
    ("GET", "/v1/batches"): "lists",
    ("POST", "/v1/batches"): "an input file",
    ("GET", "/v1/webhook_endpoints"): "lists",
    ("POST", "/v1/webhook_endpoints"): "names nothing",
    ("GET", "/v1/webhook_event_types"): "the same for everybody",
    ("GET", "/v1/models"): "the same for everybody",
    ("GET", "/v1/models/{model}"): "the same for everybody",
    ("GET", "/v1/usage"): "sums of its own",
    ("GET", "/v1/session"): "its own",
}


@pytest.fixture
async def neighbour(server, tenant):
    """A client of the tenant who has things."""
    async with http_client(server, TenantId(f"neighbour-of-{tenant}")) as client:
        yield client


async def upload(http, *, purpose="batch"):
    form = {"files": {"file": ("in.jsonl", LINE)}, "data": {"purpose": purpose}}
    return (await http.post("/v1/files", **form)).json()["id"]


async def begin_upload(http):
    asked = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "evals"}
    return (await http.post("/v1/uploads", json=asked)).json()["id"]


async def add_endpoint(http):
    asked = {"name": "n", "url": "https://8.8.8.8/hook", "event_types": ["batch.failed"]}
    return (await http.post("/v1/webhook_endpoints", json=asked)).json()["id"]


async def create_batch(http, server, *, ended=False):
    asked = CREATE | {"input_file_id": await upload(http)}
    batch = (await http.post("/v1/batches", json=asked)).json()["id"]
    if ended:
        now = datetime.now(UTC)
        async with server.metadata() as store:
            await store.batches.plan(batch, [], total=0, model="m", now=now, events=[])
            await assembled(store, batch, now=now)
    return batch


@pytest.fixture
async def owned(neighbour, server):
    """Parameter in a path -> what the neighbour has of its kind."""
    return {
        "file_id": [await upload(neighbour), await upload(neighbour, purpose="user_data")],
        "upload_id": [await begin_upload(neighbour)],
        "endpoint_id": [await add_endpoint(neighbour)],
        "batch_id": [
            await create_batch(neighbour, server),
            await create_batch(neighbour, server, ended=True),
        ],
    }


async def everything(http, owned):
    """All that its owner can see of it."""
    seen = [(await http.get(f"/v1/files/{name}")).text for name in owned["file_id"]]
    seen += [(await http.get(f"/v1/batches/{name}")).text for name in owned["batch_id"]]
    seen += [
        (await http.get(f"/v1/webhook_endpoints/{name}")).text for name in owned["endpoint_id"]
    ]
    return seen


async def test_every_route_denies_what_another_tenant_has(http, neighbour, owned):
    document = (await http.get("/openapi.json")).json()
    before = await everything(neighbour, owned)
    walked = set()

    for path, operations in document["paths"].items():
        if path.startswith("/v1/admin/"):
            await assert_for_operators(http, path, operations)
            continue
        names = set(re.findall(r"{(\w+)}", path)) - OF_NOBODY.keys()
        assert names <= owned.keys(), f"{path}: give the neighbour one of these"
        for verb in operations:
            route = (verb.upper(), path)
            walked.add(route)
            for name in names:
                for theirs in owned[name]:
                    await assert_unknown(http, route, name, theirs)
            assert names or route in COLLECTIONS, f"{route}: say here what it names"

    assert {route for route in SENT if route not in walked} == set()
    assert COLLECTIONS.keys() <= walked
    assert await everything(neighbour, owned) == before


async def assert_for_operators(http, path, verbs):
    """A tenant that is no operator is refused, whatever it names."""
    for verb in verbs:
        answer = await http.request(verb.upper(), re.sub(r"{\w+}", "any", path))
        assert answer.status_code == 403, (verb, path, answer.text)


async def assert_unknown(http, route, name, theirs):
    """The response for ``theirs`` is the one for an unknown name."""
    method, path = route
    nobodys = theirs[:-6] + "000000"

    async def ask(value):
        filled = path.format(**{**OF_NOBODY, name: value})
        answer = await http.request(method, filled, **SENT.get(route, {}))
        return answer.status_code, answer.text.replace(value, "ID")

    answered = await ask(theirs)
    assert answered == await ask(nobodys), route
    assert answered[0] == 404, (route, answered)


async def test_lists_show_and_continue_only_after_ones_own(http, neighbour, owned):
    lists = [path.split("/")[2] for (_, path), how in COLLECTIONS.items() if how == "lists"]
    of = {"files": "file_id", "batches": "batch_id", "webhook_endpoints": "endpoint_id"}
    for path, theirs in ((f"/v1/{name}", owned[of[name]][0]) for name in lists):
        listed = (await http.get(path)).json()
        behind = await http.get(path, params={"after": theirs})
        unknown = await http.get(path, params={"after": theirs[:-6] + "000000"})

        assert listed["data"] == []
        assert behind.status_code == unknown.status_code == 400
        assert theirs in [one["id"] for one in (await neighbour.get(path)).json()["data"]]


@pytest.mark.parametrize("which", [0, 1], ids=["batch", "user_data"])
async def test_a_batch_of_another_tenants_file_is_one_of_no_file(http, owned, which):
    answer = await http.post(
        "/v1/batches", json=CREATE | {"input_file_id": owned["file_id"][which]}
    )

    assert answer.json()["status"] == "validating", "it fails in planning, as any unknown file"


async def test_another_tenants_parts_complete_no_upload(http, neighbour, owned):
    upload_id = owned["upload_id"][0]
    data = {"files": {"data": ("data", b"x")}}
    part = (await neighbour.post(f"/v1/uploads/{upload_id}/parts", **data)).json()["id"]
    mine = await begin_upload(http)

    answer = await http.post(f"/v1/uploads/{mine}/complete", json={"part_ids": [part]})

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].endswith(f"no such part of this upload: {part}")
