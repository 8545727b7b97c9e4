"""Scopes of keys, the operators' API and the audit log, on a real server with keys."""

import asyncio
import json
import secrets
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httpx
import pytest
from fixtures.keys import keys, new_key

from batch_gateway.core.api_keys import ApiKey, api_key_id, api_key_secret, digest_of
from batch_gateway.core.batch_request import ExternalEvent
from batch_gateway.core.dead_letters import dead_letter
from batch_gateway.core.ids import ActivationId, BatchId, TenantId, shard_id
from batch_gateway.core.limits import PoolObservation
from batch_gateway.core.model import QueueEntry
from batch_gateway.core.scopes import AccessScope
from batch_gateway.core.webhooks import deliveries_of
from batch_gateway.ports.coordination import SlotReport
from batch_gateway.services.webhooks import endpoints
from batch_gateway.settings import AuthSettings
from batch_gateway.web.api.auditing import RefusedOperations

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'
ALL = ("read", "submit", "operate")


@pytest.fixture
def guarded(serve_api):
    """An API that asks for keys."""
    with serve_api(auth=AuthSettings(kind="api-key")) as server:
        yield server


async def with_scopes(server, tenant: str, *scopes: str) -> tuple[str, httpx.AsyncClient]:
    """The id of a new key, and a client that presents it."""
    secret = api_key_secret(secrets.token_bytes(32))
    key = ApiKey(
        id=api_key_id(secrets.token_bytes(8)),
        tenant=TenantId(tenant),
        name="",
        digest=digest_of(secret),
        created_at=datetime.now(UTC),
        **({"scopes": frozenset(map(AccessScope, scopes))} if scopes else {}),
    )
    async with server.metadata() as store:
        await store.api_keys.add(key)
    headers = {"authorization": f"Bearer {secret}"}
    return key.id, httpx.AsyncClient(base_url=f"{server.url}/v1", headers=headers)


async def upload(client) -> httpx.Response:
    file = {"file": ("in.jsonl", LINE)}
    return await client.post("/files", data={"purpose": "batch"}, files=file)


@pytest.mark.parametrize(
    ("scopes", "reads", "submits", "operates"),
    [
        ((), True, True, False),
        (("read",), True, False, False),
        (("submit",), False, True, False),
        (("operate",), False, False, True),
    ],
    ids=str,
)
async def test_a_key_allows_what_its_scopes_say(guarded, scopes, reads, submits, operates):
    name, client = await with_scopes(guarded, "acme", *scopes)
    async with client:
        answers = [
            (await client.get("/batches")).status_code,
            (await upload(client)).status_code,
            (await client.get("/admin/queue")).status_code,
        ]
        session = (await client.get("/session")).json()
        refused = await client.get("/admin/queue")

    assert answers == [200 if allowed else 403 for allowed in (reads, submits, operates)]
    assert (session["tenant"], session["api_key_id"]) == ("acme", name)
    assert (session["operator"], session["auth"]) == (operates, "api-key")
    if not operates:
        assert refused.json()["error"]["code"] == "insufficient_scope"


async def test_keys_are_made_used_listed_and_revoked_over_http(guarded):
    _, operator = await with_scopes(guarded, "platform", "operate")
    async with operator:
        asked = {"tenant": "acme", "name": "ci", "scopes": ["read"], "expires_in_s": 3600}
        made = (await operator.post("/admin/keys", json=asked)).json()
        headers = {"authorization": f"Bearer {made['secret']}"}
        async with httpx.AsyncClient(base_url=f"{guarded.url}/v1", headers=headers) as acme:
            assert (await acme.get("/batches")).status_code == 200
            assert (await upload(acme)).status_code == 403
        (shown,) = (await operator.get("/admin/keys", params={"tenant": "acme"})).json()["data"]
        revoked = (await operator.post(f"/admin/keys/{made['id']}/revoke")).json()
        unknown = await operator.post("/admin/keys/key_0/revoke")

    assert (made["tenant"], made["scopes"]) == ("acme", ["read"])
    assert "secret" not in shown
    assert shown["last_used_at"] >= made["created_at"] == made["expires_at"] - 3600
    assert (shown["revoked_at"], revoked["revoked_at"] is None) == (None, False)
    assert unknown.status_code == 404


async def test_operators_see_the_usage_of_all_tenants(guarded):
    _, operator = await with_scopes(guarded, "platform", *ALL)
    async with operator:
        answer = await operator.get("/usage", params={"start_time": 0, "group_by": "project_id"})
    _, only = await with_scopes(guarded, "platform", "operate")
    async with only:
        same = await only.get("/usage", params={"start_time": 0, "group_by": "project_id"})

    assert (answer.status_code, same.status_code) == (200, 200)
    assert same.json() == answer.json()


async def test_the_state_of_the_service_is_shown(guarded):
    _, acme = await with_scopes(guarded, "acme")
    _, operator = await with_scopes(guarded, "platform", "operate")
    async with acme, operator:
        await upload(acme)
        queue = (await operator.get("/admin/queue")).json()
        pools = (await operator.get("/admin/pools")).json()
        activations = (await operator.get("/admin/activations")).json()
        tenants = (await operator.get("/admin/tenants")).json()["data"]

    assert queue["shards"] == {"ready": 0, "leased": 0, "reserved": 0}
    assert (queue["full_stores"], pools["data"]) == ([], [])
    assert (activations["running"], activations["maximum"]) == (0, 8)
    assert [(t["id"], t["files"], t["stored_bytes"]) for t in tenants] == [("acme", 1, len(LINE))]


def queued(batch: str, *, urgent_in: timedelta) -> QueueEntry:
    """The only shard of a batch, which is urgent then."""
    now = datetime.now(UTC)
    return QueueEntry(
        shard=shard_id(BatchId(batch), 0),
        tenant=TenantId("acme"),
        model="m",
        cost=1,
        priority=5,
        deadline=now + timedelta(days=1),
        urgent_after=now + urgent_in,
    )


async def test_open_batches_of_all_tenants_are_listed_by_deadline_and_paged(guarded, coordination):
    _, operator = await with_scopes(guarded, "platform", "operate")
    made = {}
    for tenant, window in (("acme", "7d"), ("umbrella", "1h"), ("acme", "24h")):
        _, owner = await with_scopes(guarded, tenant)
        async with owner:
            asked = {
                "input_file_id": (await upload(owner)).json()["id"],
                "endpoint": "/v1/chat/completions",
                "completion_window": window,
            }
            made[window] = (await owner.post("/batches", json=asked)).json()["id"]
            if window == "24h":
                await owner.post(f"/batches/{made[window]}/pause")
    await coordination.queue.push(
        [
            queued(made["1h"], urgent_in=timedelta(seconds=-1)),
            queued(made["24h"], urgent_in=timedelta(hours=1)),
        ]
    )
    async with operator:
        first = (await operator.get("/admin/batches", params={"limit": 2})).json()
        after = {"after": first["last_id"]}
        rest = (await operator.get("/admin/batches", params=after)).json()
        unknown = await operator.get("/admin/batches", params={"after": "batch_none"})

    for batch in made.values():
        await coordination.queue.withdraw(BatchId(batch))

    shown = [(one["id"], one["tenant"], one["paused"]) for one in (*first["data"], *rest["data"])]
    assert shown == [
        (made["1h"], "umbrella", False),
        (made["24h"], "acme", True),
        (made["7d"], "acme", False),
    ]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    lanes = [one["urgent"] for one in (*first["data"], *rest["data"])]
    assert lanes == [True, False, None]
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "after")


async def created(guarded, tenant: str, **fields) -> str:
    """The id of a new batch of ``tenant``."""
    _, owner = await with_scopes(guarded, tenant)
    async with owner:
        asked = {
            "input_file_id": (await upload(owner)).json()["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        made = await owner.post("/batches", json=asked | fields)
        return made.json()["id"]


async def test_batches_of_all_tenants_are_filtered_and_paged_newest_first(guarded):
    _, operator = await with_scopes(guarded, "platform", "operate")
    tenants = ("acme", "umbrella", "acme", "hooli")
    made = [
        await created(guarded, tenant, metadata={"n": str(n)}) for n, tenant in enumerate(tenants)
    ]
    async with operator:

        async def listed(**query) -> list[str]:
            answer = await operator.get("/admin/batches", params={"order": "created", **query})
            return [one["id"] for one in answer.json()["data"]]

        await operator.post(f"/admin/batches/{made[1]}/cancel")
        first = (
            await operator.get("/admin/batches", params={"order": "created", "limit": 3})
        ).json()
        rest = await listed(after=first["last_id"])
        of_acme = await listed(tenant="acme")
        none = await listed(tenant="nobody")
        validating = await listed(status="validating", tenant="umbrella")
        noted = await listed(**{"metadata[n]": "3"})
        old = await listed(created_before=1)
        refused = [
            await operator.get("/admin/batches", params=query)
            for query in (
                {"tenant": "acme"},
                {"metadata[n]": "3"},
                {"order": "sideways"},
                {"order": "created", "tenant": "\x00"},
                {"order": "created", "status": "lost"},
                {"order": "created", "after": "batch_none"},
            )
        ]

    both = [*(one["id"] for one in first["data"]), *rest]
    assert sorted(both) == sorted(made)
    assert first["has_more"] is True
    by_second = {one["id"]: one["created_at"] for one in first["data"]}
    assert list(by_second.values()) == sorted(by_second.values(), reverse=True)
    assert {one["tenant"] for one in first["data"]} <= set(tenants)
    assert sorted(of_acme) == sorted([made[0], made[2]])
    assert (none, validating, noted, old) == ([], [], [made[3]], [])
    assert [answer.status_code for answer in refused] == [400] * 6
    params = [answer.json()["error"]["param"] for answer in refused]
    assert params == ["tenant", "metadata[n]", "order", "tenant", "status", "after"]


async def test_an_operator_looks_at_a_batch_of_another_tenant_and_cancels_it(guarded):
    name, operator = await with_scopes(guarded, "platform", "operate")
    _, other = await with_scopes(guarded, "umbrella", "read", "submit")
    batch = await created(guarded, "acme", metadata={"team": "blue"})
    path = f"/admin/batches/{batch}"
    async with operator, other:
        shown = (await operator.get(path)).json()
        analytics = await operator.get(f"{path}/analytics")
        forbidden = [
            await other.get(path),
            await other.get(f"{path}/analytics"),
            await other.post(f"{path}/cancel"),
        ]
        hidden = [
            await operator.get(f"/batches/{batch}/results"),
            await operator.get(f"/files/{shown['input_file_id']}/content"),
        ]
        cancelled = await operator.post(f"{path}/cancel")
        unknown = [
            await operator.get("/admin/batches/batch_none"),
            await operator.get("/admin/batches/batch_none/analytics"),
            await operator.post("/admin/batches/batch_none/cancel"),
        ]
        log = (await operator.get("/admin/audit", params={"target": batch})).json()["data"]
    async with guarded.metadata() as store:
        stored = await store.batches.load(BatchId(batch))

    assert (shown["tenant"], shown["metadata"], shown["urgent"]) == ("acme", {"team": "blue"}, None)
    assert shown["object"] == "batch"
    assert analytics.json()["object"] == "batch.analytics"
    assert [answer.status_code for answer in forbidden] == [403] * 3
    assert [answer.status_code for answer in hidden] == [403] * 2
    assert cancelled.json()["status"] == "cancelling"
    assert stored.status == "cancelling"
    assert [answer.status_code for answer in unknown] == [404] * 3
    done = [
        (entry["action"], entry["outcome"], entry["tenant"], entry["operator"]) for entry in log
    ]
    assert done[0] == ("batch.cancel", "ok", "platform", True)
    assert log[0]["api_key_id"] == name
    assert ("batch.cancel", "refused", "umbrella", False) in done


async def test_an_operator_sees_what_a_tenant_s_webhook_endpoints_were_told(guarded, monkeypatch):
    monkeypatch.setattr(endpoints, "_PAGE", 2)
    _, operator = await with_scopes(guarded, "platform", "operate")
    _, owner = await with_scopes(guarded, "acme", "read", "submit")
    batch, silent = await created(guarded, "acme"), await created(guarded, "acme")
    path = f"/admin/batches/{batch}/deliveries"
    asked = {"url": "https://8.8.8.8/secret", "event_types": ["batch.failed"]}
    async with operator, owner:
        for number in range(3):
            await owner.post("/webhook_endpoints", json=asked | {"name": f"hook {number}"})
        before = (await operator.get(path)).json()
        async with guarded.metadata() as store:
            failed = await store.batches.fail(BatchId(batch), [], now=datetime.now(UTC), events=[])
            heard = (await store.webhooks.list(failed.tenant, limit=10)).items
            await store.webhooks.enqueue(deliveries_of(failed, heard, datetime.now(UTC)))
        told = (await operator.get(path)).json()
        nothing = (await operator.get(f"/admin/batches/{silent}/deliveries")).json()
        unknown = await operator.get("/admin/batches/batch_none/deliveries")
        forbidden = await owner.get(path)

    assert before["data"] == nothing["data"] == []
    assert {one["endpoint_name"] for one in told["data"]} == {"hook 0", "hook 1", "hook 2"}
    assert {one["endpoint_id"] for one in told["data"]} == {endpoint.id for endpoint in heard}
    assert {(one["batch_id"], one["status"]) for one in told["data"]} == {(batch, "pending")}
    assert told["has_more"] is False
    assert "secret" not in str(told)
    assert (unknown.status_code, forbidden.status_code) == (404, 403)


async def test_a_batch_that_has_ended_is_not_cancelled_by_an_operator(guarded):
    _, operator = await with_scopes(guarded, "platform", "operate")
    batch = await created(guarded, "acme")
    async with guarded.metadata() as store:
        await store.batches.fail(BatchId(batch), [], now=datetime.now(UTC), events=[])
    async with operator:
        refused = await operator.post(f"/admin/batches/{batch}/cancel")
        params = {"order": "created", "status": "failed"}
        (listed,) = (await operator.get("/admin/batches", params=params)).json()["data"]

    assert (refused.status_code, refused.headers["x-should-retry"]) == (409, "false")
    assert listed["ended_at"] >= listed["created_at"]


async def test_the_last_hour_of_a_pool_is_told_to_who_asks(guarded, coordination):
    _, operator = await with_scopes(guarded, "platform", "operate")
    report = SlotReport(endpoint="e", want=4, in_use=2, seen=PoolObservation(dropped=1))
    holder = ActivationId("me")
    await coordination.slots.sync(holder, {"e/m": report}, ttl=timedelta(minutes=1))
    await coordination.slots.leave(holder, ["e/m"])
    async with operator:
        (plain,) = (await operator.get("/admin/pools")).json()["data"]
        (told,) = (await operator.get("/admin/pools", params={"history": "true"})).json()["data"]
        refused = await operator.get("/admin/pools", params={"history": "1h"})

    assert plain["history"] is None
    assert [one["in_use"] for one in told["history"]] == [2, 0]
    assert [one["limit"] for one in told["history"]] == [8.0, pytest.approx(told["limit"], abs=0.1)]
    assert refused.status_code == 400


async def test_functions_are_listed_with_their_instances_and_those_at_zero_too(
    guarded, coordination
):
    _, operator = await with_scopes(guarded, "platform", "operate")
    instances, hour = coordination.function_instances, timedelta(hours=1)
    for name in ("one", "two"):
        started = await instances.report("planner", name, started_at=None, lifetime=hour)
    await instances.leave("planner", "two", started_at=started)
    async with operator:
        found = (await operator.get("/admin/functions")).json()["data"]

    by_name = {one["id"]: one for one in found}
    assert list(by_name) == sorted(
        ["api", "assembler", "deadletter", "executor", "intake", "janitor", "notifier", "planner"]
    )
    assert [one["id"] for one in by_name["planner"]["instances"]] == ["one"]
    assert by_name["planner"]["history"][-1]["instances"] == 1
    assert by_name["intake"]["instances"] == []
    assert [one["instances"] for one in by_name["intake"]["history"]] == [0]


class Taker(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.taken.append(
            (self.headers["ce-id"], self.rfile.read(int(self.headers["content-length"])))
        )
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def broker(monkeypatch):
    """A broker that takes all events."""
    server = HTTPServer(("127.0.0.1", 0), Taker)
    server.taken = []
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("K_SINK", f"http://127.0.0.1:{server.server_port}/")
    yield server
    server.shutdown()
    server.server_close()


async def test_dead_letters_are_shown_replayed_and_deleted(broker, guarded):
    letters = [
        dead_letter(
            ExternalEvent(
                attributes={
                    "id": name,
                    "source": "/test",
                    "type": "test.happened",
                    "knativeerrorcode": "503",
                    "knativeerrordest": "http://nobody/",
                },
                data=b'{"a": 1}',
            ),
            datetime.now(UTC) - timedelta(seconds=age),
        )
        for name, age in (("one", 2), ("two", 1))
    ]
    async with guarded.metadata() as store:
        for letter in letters:
            await store.dead_letters.put(letter)
    _, operator = await with_scopes(guarded, "platform", "operate")
    async with operator:
        listed = (await operator.get("/admin/dead_letters")).json()["data"]
        detail = (await operator.get(f"/admin/dead_letters/{letters[0].id}")).json()
        replayed = await operator.post(f"/admin/dead_letters/{letters[0].id}/replay")
        deleted = await operator.delete(f"/admin/dead_letters/{letters[1].id}")
        left = (await operator.get("/admin/dead_letters")).json()["data"]
        again = await operator.post(f"/admin/dead_letters/{letters[0].id}/replay")

    assert [letter["event_id"] for letter in listed] == ["two", "one"]
    assert (detail["data"], detail["code"], detail["source"]) == ('{"a": 1}', "503", "/test")
    assert (replayed.status_code, deleted.json()["deleted"], left) == (200, True, [])
    assert broker.taken == [("one", b'{"a": 1}')]
    assert again.status_code == 404


# -- audit log -------------------------------------------------------------------------------------


async def entries(operator, **query) -> list[tuple]:
    found = (await operator.get("/admin/audit", params=query)).json()["data"]
    return [(e["action"], e["outcome"], e["status_code"], e["tenant"]) for e in found]


async def test_what_is_changed_is_in_the_audit_log_with_who_and_where(guarded):
    name, acme = await with_scopes(guarded, "acme")
    operating, operator = await with_scopes(guarded, "platform", "operate")
    async with acme, operator:
        file = (await upload(acme)).json()["id"]
        asked = {
            "input_file_id": file,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {"secret": "not-in-the-log"},
        }
        batch = (await acme.post("/batches", json=asked)).json()["id"]
        await acme.get(f"/batches/{batch}")
        await acme.post(
            f"/batches/{batch}/pause", headers={"x-forwarded-for": "192.0.2.7, 10.0.0.1"}
        )
        await acme.post(f"/batches/{batch}/cancel")
        await acme.post("/batches/batch_unknown/cancel")
        await acme.post("/batches", json=asked | {"colour": "red"})
        made = (await operator.post("/admin/keys", json={"tenant": "acme"})).json()
        await operator.post(f"/admin/keys/{made['id']}/revoke")
        raw = (await operator.get("/admin/audit")).text
        log = json.loads(raw)["data"]
        of_batch = await entries(operator, target=batch)
        lines = (await operator.get("/admin/audit", params={"format": "jsonl", "limit": 3})).text

    found = [(e["action"], e["outcome"], e["status_code"], e["target"]) for e in log]
    assert found == [
        ("key.revoke", "ok", 200, made["id"]),
        ("key.create", "ok", 200, made["id"]),
        ("batch.create", "refused", 400, None),
        ("batch.cancel", "refused", 404, "batch_unknown"),
        ("batch.cancel", "ok", 200, batch),
        ("batch.pause", "ok", 200, batch),
        ("batch.create", "ok", 200, batch),
        ("file.create", "ok", 200, file),
    ]
    pause, create_key = log[5], log[1]
    assert (pause["api_key_id"], pause["operator"]) == (name, False)
    assert create_key["address"] == "127.0.0.1"
    assert pause["forwarded_for"] == "192.0.2.7, 10.0.0.1"
    assert (create_key["api_key_id"], create_key["operator"]) == (operating, True)
    assert of_batch == [
        ("batch.cancel", "ok", 200, "acme"),
        ("batch.pause", "ok", 200, "acme"),
        ("batch.create", "ok", 200, "acme"),
    ]
    assert [json.loads(line)["action"] for line in lines.splitlines()] == [
        "key.revoke",
        "key.create",
        "batch.create",
    ]
    assert "not-in-the-log" not in raw
    assert made["secret"] not in raw


async def test_a_client_that_leaves_in_the_midst_of_its_upload_is_no_fault(guarded, caplog):
    """Neither of the service, which logs no crash, nor of anything that was made."""
    _, acme = await with_scopes(guarded, "acme")
    _, operator = await with_scopes(guarded, "platform", "operate")
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: {acme.headers['authorization']}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9999\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nba'
    )
    async with acme, operator:
        host, port = guarded.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode())
        await writer.drain()
        writer.close()
        async with asyncio.timeout(90):
            while (
                'method="POST",route="/v1/files",status="499"'
                not in (await operator.get(f"{guarded.url}/metrics")).text
            ):
                await asyncio.sleep(0.05)

        assert await entries(operator) == []
    assert "unexpected error" not in caplog.text


async def test_refused_requests_of_operators_routes_are_recorded_once_a_minute(guarded):
    name, acme = await with_scopes(guarded, "acme")
    _, operator = await with_scopes(guarded, "platform", "operate")
    async with acme, operator:
        answers = [
            await acme.get("/admin/keys"),
            await acme.get("/admin/queue"),
            await acme.post("/admin/keys", json={"tenant": "acme", "scopes": ["operate"]}),
            await acme.post("/admin/keys", json={"tenant": "acme"}),
            await acme.post("/admin/keys/key_1/revoke"),
        ]
        log = (await operator.get("/admin/audit")).json()["data"]

    assert {answer.status_code for answer in answers} == {403}
    assert [(e["action"], e["outcome"], e["status_code"], e["target"]) for e in log] == [
        ("key.revoke", "refused", 403, "key_1"),
        ("key.create", "refused", 403, None),
        ("admin.read", "refused", 403, None),
    ]
    assert {(e["tenant"], e["api_key_id"], e["operator"]) for e in log} == {("acme", name, False)}


def test_refused_callers_are_bounded():
    refused = RefusedOperations(log=None)
    callers = [("acme", f"key_{n}", "admin.read") for n in range(1500)]

    assert sum(refused._is_new(caller, now=0.0) for caller in callers) == 1000
    assert not refused._is_new(callers[0], now=59.0)
    assert refused._is_new(callers[0], now=60.0)
    assert refused._is_new(callers[1499], now=60.0)


async def test_a_request_that_is_repeated_by_its_idempotency_key_is_done_and_recorded_once(guarded):
    _, acme = await with_scopes(guarded, "acme")
    _, operator = await with_scopes(guarded, "platform", "operate")
    headers = {"idempotency-key": "once"}
    async with acme, operator:
        file = (await upload(acme)).json()["id"]
        asked = {
            "input_file_id": file,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        for _ in range(2):
            await acme.post("/batches", json=asked, headers=headers)

        assert len(await entries(operator, action="batch.create")) == 1


async def test_the_command_prints_the_audit_log(guarded):
    name, _ = new_key(guarded, "acme", "--scope", "read")
    await asyncio.to_thread(keys, guarded, "revoke", name)

    shown = await asyncio.to_thread(audit, guarded, "--json")

    log = [json.loads(line) for line in shown.splitlines()]
    assert [(e["action"], e["target"], e["operator"]) for e in log] == [
        ("key.revoke", name, True),
        ("key.create", name, True),
    ]
    assert name in await asyncio.to_thread(audit, guarded)


def audit(server, *words: str) -> str:
    import subprocess
    import sys

    command = (sys.executable, "-m", "batch_gateway", "audit", *words, "--data", server.folder)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
