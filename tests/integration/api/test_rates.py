"""How often a tenant may create batches and files."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing

import pytest
from fixtures.api import http_client
from fixtures.redis import free_port

from batch_gateway.core.ids import TenantId
from batch_gateway.settings import QuotaSettings

BATCH = {
    "input_file_id": "file-none",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}
TWO = QuotaSettings(batches_per_hour=2, uploads_per_minute=2)
ALICE, BOB = TenantId("rates-alice"), TenantId("rates-bob")


@pytest.fixture
def idempotency_rows():
    """Counts the rows of Idempotency-Keys in a server's database."""

    def count(server) -> int:
        with closing(sqlite3.connect(server.folder / "metadata.db")) as database:
            return int(database.execute("SELECT count(*) FROM claims").fetchone()[0])

    return count


async def create(http, **headers: str):
    return await http.post("/v1/batches", json=BATCH, headers=headers)


async def upload(http):
    return await http.post("/v1/files", files={"file": ("a.txt", b"x")}, data={"purpose": "vision"})


@pytest.mark.parametrize(("post", "longest"), [(create, 120), (upload, 60)])
async def test_who_creates_too_often_is_told_when_to_come_again(serve_api, post, longest):
    with serve_api(quota=TWO) as server:
        async with http_client(server, ALICE) as alice, http_client(server, BOB) as bob:
            first, _, third = [await post(alice) for _ in range(3)]
            others, lists = await post(bob), await alice.get("/v1/files")

    assert (first.status_code, third.status_code) == (200, 429)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert third.headers["x-ratelimit-remaining-requests"] == "0"
    assert 1 <= int(third.headers["retry-after"]) <= longest
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    assert (others.status_code, lists.status_code) == (200, 200)


async def test_a_repeated_request_is_not_counted_again(serve_api):
    with serve_api(quota=TWO) as server:
        async with http_client(server, TenantId("rates-carol")) as carol:
            answers = [await create(carol, **{"idempotency-key": "k"}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200] * 4


async def test_of_many_requests_at_once_no_more_pass_than_the_limit(serve_api, idempotency_rows):
    with serve_api(quota=QuotaSettings(batches_per_hour=10)) as server:
        async with http_client(server, TenantId("rates-erin")) as erin:
            answers = await asyncio.gather(
                *(create(erin, **{"idempotency-key": f"k{n}"}) for n in range(350))
            )
        rows = idempotency_rows(server)

    assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 340}
    assert rows == 10


async def test_without_the_scratch_server_the_process_counts_alone(serve_api):
    dead = f"redis://127.0.0.1:{free_port()}/0"
    with serve_api(quota=TWO, scratch_url=dead) as server:
        async with http_client(server, TenantId("rates-dave")) as dave:
            answers = await asyncio.gather(*(create(dave) for _ in range(20)))

    assert Counter(answer.status_code for answer in answers) == {200: 2, 429: 18}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 120


async def test_without_a_limit_everybody_passes(serve_api):
    with serve_api(quota=QuotaSettings(batches_per_hour=0)) as server:
        async with http_client(server, TenantId("rates-dave")) as dave:
            answers = [await create(dave) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert "x-ratelimit-limit-requests" not in answers[0].headers


async def test_keys_of_requests_without_another_rate_are_counted(serve_api, idempotency_rows):
    """Each leaves a row for a day, which nothing else bounds."""
    quota = QuotaSettings(batches_per_hour=0, keyed_requests_per_hour=3)
    with serve_api(quota=quota) as server:
        async with http_client(server, TenantId("rates-grace")) as grace:
            answers = [await create(grace, **{"idempotency-key": f"k{n}"}) for n in range(20)]
            again = await create(grace, **{"idempotency-key": "k0"})
            batch = again.json()["id"]
            cancelled = await grace.post(
                f"/v1/batches/{batch}/cancel", headers={"idempotency-key": "another"}
            )
            unkeyed = await grace.post(f"/v1/batches/{batch}/cancel")
        rows = idempotency_rows(server)

    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 17
    assert answers[-1].headers["retry-after"] == "120"
    assert (again.status_code, again.json()) == (200, answers[0].json())
    assert (cancelled.status_code, unkeyed.status_code) == (429, 200)
    assert rows == 3


async def test_refused_requests_leave_no_claim_of_their_keys(serve_api, idempotency_rows):
    with serve_api() as server:
        async with http_client(server, TenantId("rates-frank")) as frank:
            for number in range(5):
                key = {"idempotency-key": f"r{number}"}
                answer = await frank.post(
                    "/v1/batches", json={**BATCH, "endpoint": "/x"}, headers=key
                )
                assert answer.status_code == 400
            fixed = await create(frank, **{"idempotency-key": "r0"})
        rows = idempotency_rows(server)

    assert fixed.status_code == 200
    assert rows == 1
