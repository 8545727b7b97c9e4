"""A function's start: what it waits for, what it says meanwhile, and what an outage does to it."""

import asyncio
import json
import os
import sqlite3
import sys
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
from fixtures.functions import environment, running_function
from fixtures.gateway import CHAT, chat_lines, encoded
from fixtures.redis import valkey_server

from batch_gateway.local.manifests import deployment_root

pytestmark = pytest.mark.redis

TICK = "dev.knative.sources.ping"
FUNCTIONS = sorted(path.parent.name for path in deployment_root().glob("functions/*/main.py"))


async def test_requests_and_probes_are_not_logged(tmp_path, valkey_url):
    env = environment(tmp_path, valkey_url) | {"BATCH_GATEWAY_LOG__FORMAT": "json"}
    await migrate(env)
    log = tmp_path / "log"

    with log.open("wb") as written:
        async with running_function("janitor", env, stderr=written, stdout=written) as janitor:
            await janitor.until("/readyz", 200)
            await janitor.until("/healthz", 200)
            assert (await janitor.post(TICK)).status_code == 202

    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert "uvicorn.error" in {record["logger"] for record in records}
    assert [record for record in records if record["logger"] == "uvicorn.access"] == []


async def migrate(env):
    """Run the command as the Job does; its exit code and all that it wrote."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "batch_gateway", "migrate", "--wait", "0"),
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_a_function_waits_for_the_migration_and_works_without_a_restart(tmp_path, valkey_url):
    env = environment(tmp_path, valkey_url)

    async with running_function("janitor", env) as janitor:
        unready = await janitor.until("/readyz", 503)
        assert "run `batch-gateway migrate`" in unready.json()["reason"]
        assert await janitor.status("/healthz") == 200
        assert (await janitor.post(TICK)).status_code == 503

        code, output = await migrate(env)
        assert (code, "went from schema version none" in output) == (0, True)

        await janitor.until("/readyz", 200)
        assert (await janitor.post(TICK)).status_code == 202


def without_broker(env):
    return {name: value for name, value in env.items() if name != "K_SINK"}


async def created_batch(api):
    """The id of a batch that the API has accepted."""
    uploaded = await api.http.post(
        "/v1/files",
        data={"purpose": "batch"},
        files={"file": ("input.jsonl", encoded(chat_lines(2)))},
    )
    batch = {
        "input_file_id": uploaded.json()["id"],
        "endpoint": CHAT,
        "completion_window": "24h",
    }
    answer = await api.http.post("/v1/batches", json=batch)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_every_function_is_ready_before_the_broker_has_an_address(name, tmp_path, valkey_url):
    env = without_broker(environment(tmp_path, valkey_url))
    await migrate(env)

    async with running_function(name, env) as function:
        await function.until("/readyz", 200)


async def test_what_cannot_be_sent_without_a_broker_is_sent_once_there_is_one(
    tmp_path, valkey_url, receiver
):
    env = environment(tmp_path, valkey_url)
    await migrate(env)
    async with running_function("api", without_broker(env)) as api:
        await api.until("/readyz", 200)
        batch = await created_batch(api)

    env |= {"BATCH_GATEWAY_SWEEP__UNSENT_S": "0.001", "BATCH_GATEWAY_SWEEP__BUDGET_S": "1"}
    env["BATCH_GATEWAY_EVENTS__SINK"] = receiver.url  # wins over K_SINK
    async with running_function("janitor", env) as janitor:
        await janitor.until("/readyz", 200)
        assert (await janitor.post(TICK)).status_code == 202

    heard = {headers["ce-id"] for headers, _ in receiver.heard}
    assert f"{batch}/created" in heard


async def test_an_older_release_does_not_work_on_the_schema_of_a_newer_one(tmp_path, valkey_url):
    env = environment(tmp_path, valkey_url)
    await migrate(env)
    with sqlite3.connect(tmp_path / "metadata.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")

    async with running_function("janitor", env) as janitor:
        unready = await janitor.until("/readyz", 503)
        assert "a newer release was here" in unready.json()["reason"]
        assert await janitor.status("/healthz") == 200
        assert (await janitor.post(TICK)).status_code == 503
    code, output = await migrate(env)

    assert (code, "a newer release was here" in output) == (1, True)


async def test_redis_may_go_away_and_come_back(tmp_path):
    data = tmp_path / "valkey"
    async with AsyncExitStack() as stack:
        with valkey_server(data) as url:
            env = environment(tmp_path, url) | {"BATCH_GATEWAY_PROBES__TOLERANCE_S": "1"}
            await migrate(env)
            janitor = await stack.enter_async_context(running_function("janitor", env))
            await janitor.until("/readyz", 200)

        unready = await janitor.until("/readyz", 503)
        assert unready.json()["reason"].startswith("scratch: ")
        assert await janitor.status("/healthz") == 200

        with valkey_server(data, port=urlsplit(url).port):
            await janitor.until("/readyz", 200)
            assert (await janitor.post(TICK)).status_code == 202
