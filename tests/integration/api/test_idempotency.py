"""``Idempotency-Key``: what is sent again is not done again."""

import asyncio
from datetime import timedelta

import aiosqlite
import httpx
import pytest
from fixtures.api import headers_of

from batch_gateway.core.idempotency import claim_id
from batch_gateway.core.ids import batch_id
from batch_gateway.web.api.idempotency import HELD

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}\n'
BATCH = {
    "input_file_id": "file-none",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}
KEY = {"idempotency-key": "order-7"}


async def upload(http, content: bytes = LINE, **fields):
    return await http.post(
        "/v1/files",
        files={"file": ("in.jsonl", content)},
        data={"purpose": "batch", **fields},
        headers=KEY,
    )


async def listed(http, kind: str) -> list[str]:
    return [found["id"] for found in (await http.get(f"/v1/{kind}")).json()["data"]]


async def test_a_repeated_batch_is_answered_as_before_and_made_once(http):
    first = await http.post("/v1/batches", json=BATCH, headers=KEY)
    again = await http.post("/v1/batches", json=BATCH, headers=KEY)

    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert await listed(http, "batches") == [first.json()["id"]]


async def test_a_repeated_upload_is_the_same_file_although_the_forms_boundary_is_new(http):
    first, again = await upload(http, LINE * 10_000), await upload(http, LINE * 10_000)

    assert again.json() == first.json()
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert await listed(http, "files") == [first.json()["id"]]


async def test_a_secret_in_an_answer_is_told_again_but_not_stored(http, server):
    asked = {"name": "n", "url": "https://8.8.8.8/hook", "event_types": ["batch.failed"]}
    first = await http.post("/v1/webhook_endpoints", json=asked, headers=KEY)
    again = await http.post("/v1/webhook_endpoints", json=asked, headers=KEY)

    secret = first.json()["signing_secret"]
    assert again.json()["signing_secret"] == secret
    async with aiosqlite.connect(server.folder / "metadata.db") as database:
        rows = await database.execute_fetchall("SELECT body FROM claims WHERE body IS NOT NULL")
    assert rows
    assert not any(secret in body for (body,) in rows)


async def test_the_same_key_with_another_body_is_refused(http):
    await http.post("/v1/batches", json=BATCH, headers=KEY)
    await upload(http)

    other_batch = await http.post("/v1/batches", json=BATCH | {"metadata": {}}, headers=KEY)
    other_file = await upload(http, LINE + LINE)

    for answer in (other_batch, other_file):
        assert (answer.status_code, answer.json()["error"]["code"]) == (
            400,
            "idempotency_key_reused",
        )
    assert (len(await listed(http, "batches")), len(await listed(http, "files"))) == (1, 1)


async def test_another_tenant_or_another_route_has_other_keys(http, server):
    mine = await http.post("/v1/batches", json=BATCH, headers=KEY)
    theirs = await http.post(
        "/v1/batches", json=BATCH, headers=KEY | headers_of("idempotency-stranger")
    )
    cancelled = await http.post(f"/v1/batches/{mine.json()['id']}/cancel", headers=KEY)
    again = await http.post(f"/v1/batches/{mine.json()['id']}/cancel", headers=KEY)

    assert theirs.json()["id"] != mine.json()["id"]
    assert cancelled.json()["status"] == "cancelling"
    assert again.content == cancelled.content


async def test_a_refused_request_may_be_corrected_under_the_same_key(http):
    refused = await http.post("/v1/batches", json=BATCH | {"endpoint": "/v1/no"}, headers=KEY)
    corrected = await http.post("/v1/batches", json=BATCH, headers=KEY)

    assert (refused.status_code, corrected.status_code) == (400, 200)


async def test_duplicates_at_the_same_moment_make_one_batch(http):
    answers = await asyncio.gather(
        *(http.post("/v1/batches", json=BATCH, headers=KEY) for _ in range(10))
    )

    done = [answer for answer in answers if answer.status_code == 200]
    meanwhile = [answer for answer in answers if answer.status_code != 200]
    assert len({answer.json()["id"] for answer in done}) == 1
    assert {answer.status_code for answer in meanwhile} <= {409}
    assert all(answer.headers["x-should-retry"] == "true" for answer in meanwhile)
    assert len(await listed(http, "batches")) == 1


async def test_while_a_request_is_worked_on_its_duplicate_is_told_to_come_again(
    http, server, tenant
):
    go_on = asyncio.Event()

    async def slowly():
        yield b"--b\r\n"
        await go_on.wait()

    form = {"content-type": "multipart/form-data; boundary=b"}
    slow = asyncio.create_task(http.post("/v1/files", content=slowly(), headers=KEY | form))
    async with asyncio.timeout(45):
        while await _claimed(server, claim_id(tenant, "/v1/files?", "order-7")) is None:
            await asyncio.sleep(0.01)

    answer = await upload(http)
    go_on.set()
    refused = await slow

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_key_in_use")
    assert 0 < int(answer.headers["retry-after"]) <= 120
    assert refused.status_code == 400
    assert (await upload(http)).status_code == 200


async def test_a_crash_between_doing_and_recording_duplicates_no_batch(http, server, tenant):
    """The claim is made and the batch is there, but its answer was never recorded."""
    first = (await http.post("/v1/batches", json=BATCH, headers=KEY)).json()
    await _forget_answer(server, claim_id(tenant, "/v1/batches?", "order-7"))

    early = await http.post("/v1/batches", json=BATCH, headers=KEY)
    server.clock.ahead = HELD + timedelta(seconds=1)
    other = await http.post("/v1/batches", json=BATCH | {"metadata": {}}, headers=KEY)
    late = await http.post("/v1/batches", json=BATCH, headers=KEY)

    assert early.status_code == 409
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert (late.status_code, late.json()["id"]) == (200, first["id"])
    assert await listed(http, "batches") == [first["id"]]


async def test_a_batchs_id_is_its_claims_seed(http, server, tenant):
    made = (await http.post("/v1/batches", json=BATCH, headers=KEY)).json()["id"]

    seed = await _claimed(server, claim_id(tenant, "/v1/batches?", "order-7"))

    assert batch_id(bytes.fromhex(seed)) == made


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "é".encode()])
async def test_a_key_that_is_none_is_refused(http, key):
    answer = await http.post("/v1/batches", json=BATCH, headers={"idempotency-key": key})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_idempotency_key")


async def test_who_has_no_access_makes_no_claims(server):
    async with httpx.AsyncClient(base_url=server.url) as stranger:
        answer = await stranger.post("/v1/batches", json=BATCH, headers=KEY)

    assert answer.status_code == 401


async def _forget_answer(server, claim: str) -> None:
    """What a crash leaves behind that comes before the answer is recorded."""
    forget = "UPDATE claims SET status = NULL, body = NULL, content_type = NULL WHERE id = ?"
    async with aiosqlite.connect(server.folder / "metadata.db") as database:
        await database.execute(forget, (claim,))
        await database.commit()


async def _claimed(server, claim: str) -> str | None:
    """The seed of a claim; None when there is none."""
    async with aiosqlite.connect(server.folder / "metadata.db") as database:
        found = await database.execute("SELECT seed FROM claims WHERE id = ?", (claim,))
        row = await found.fetchone()
    return None if row is None else row[0]
