"""Headers that a batch's calls carry on: stored encrypted, never shown."""

import json
import logging
from datetime import UTC, datetime

from fixtures.api import HEADER_KEY, Server, headers_of, http_client, running

from batch_gateway.adapters.sealing import FernetSealer
from batch_gateway.core.ids import BatchId
from batch_gateway.settings import ApiSettings, AuthSettings

BODY = {
    "input_file_id": "file-x",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


async def test_they_are_sealed_in_the_row_and_nowhere_else(tmp_path, valkey_url, tenant, caplog):
    server = Server(tmp_path, f"sqlite+aiosqlite:///{tmp_path}/metadata.db", valkey_url)
    server.passed = ("x-user-token", "x-absent")
    with caplog.at_level(logging.INFO), running(server, ApiSettings(), AuthSettings(), 30):
        async with http_client(server, tenant) as http:
            headers = {**headers_of(tenant), "X-User-Token": "hush", "x-other": "loud"}
            created = await http.post("/v1/batches", json=BODY, headers=headers)
            shown = await http.get(f"/v1/batches/{created.json()['id']}")
            listed = await http.get("/v1/batches")
        async with server.metadata() as metadata:
            batch = await metadata.batches.load(BatchId(created.json()["id"]))

    assert batch.sealed is not None
    assert json.loads(FernetSealer([HEADER_KEY.encode()]).open(batch.sealed)) == {
        "batch": batch.id,
        "headers": {"x-user-token": "hush"},
    }
    for text in (created.text, shown.text, listed.text, caplog.text, repr(batch)):
        assert "hush" not in text
    assert not any("sealed" in text for text in (created.text, shown.text, listed.text))
    assert batch.sealed not in caplog.text + repr(batch)


async def test_a_retry_carries_those_of_the_request_that_asks_for_it(tmp_path, valkey_url, tenant):
    server = Server(tmp_path, f"sqlite+aiosqlite:///{tmp_path}/metadata.db", valkey_url)
    server.passed = ("x-user-token",)
    with running(server, ApiSettings(), AuthSettings(), 30):
        async with http_client(server, tenant) as http, server.metadata() as metadata:
            line = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'
            file = (
                await http.post("/v1/files", files={"file": line}, data={"purpose": "batch"})
            ).json()
            asked = {**BODY, "input_file_id": file["id"]}
            old = (
                await http.post("/v1/batches", json=asked, headers={"x-user-token": "old"})
            ).json()
            await metadata.batches.fail(old["id"], [], now=datetime.now(UTC), events=[])
            new = await http.post(f"/v1/batches/{old['id']}/retry", headers={"x-user-token": "new"})
            assert new.status_code == 200, new.text
            batch = await metadata.batches.load(BatchId(new.json()["id"]))

    opened = json.loads(FernetSealer([HEADER_KEY.encode()]).open(batch.sealed))
    assert opened["headers"] == {"x-user-token": "new"}
