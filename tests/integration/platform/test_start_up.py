"""A function's start: what it waits for, what it answers meanwhile, and the effect of an outage."""

import asyncio
import json
import os
import re
import sqlite3
import sys
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
from fixtures.functions import PATIENCE_S, environment, is_reason, running_function
from fixtures.gateway import CHAT, chat_lines, encoded
from fixtures.redis import valkey_server

from batch_gateway.local.manifests import deployment_root
from batch_gateway.local.process_output import error_line
from batch_gateway.web.function import MAX_EVENT_BYTES

pytestmark = pytest.mark.redis

#: Settings that one function reads, with values that they cannot have.
WRONG = {
    "executor": {"BATCH_GATEWAY_EXECUTION__SOFT_BUDGET_S": "-1"},
    "planner": {"BATCH_GATEWAY_PLANNING__SHARD_LINES": "0"},
}
#: What no answer may show.
SECRETS = {
    "BATCH_GATEWAY_EVENTS__SIGNING_KEYS": "a-key-that-signs",
    "BATCH_GATEWAY_INFERENCE__API_KEY": "a-key-of-the-engine",
    "BATCH_GATEWAY_WEBHOOKS__ENCRYPTION_KEYS": "a-key-that-seals",
}
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
    """A function also starts with wrong settings that it does not read.

    Functions that take events say in one line why they refuse one, from their start on.
    """
    env = without_broker(environment(tmp_path, valkey_url)) | SECRETS
    others = "planner" if name == "executor" else "executor"

    async with running_function(name, env | WRONG[others]) as function:
        await function.until("/readyz", 503)
        unready = await function.post(TICK)
        await migrate(env)
        await function.until("/readyz", 200)
        answers = [] if name == "api" else [unready, *[await a for a in requests(function.http)]]

    assert unready.status_code == 503
    for answer in answers:
        told = answer.text
        assert not any(secret in told for secret in SECRETS.values()), told
        if answer.status_code == 202:
            assert told == ""
        else:
            assert is_reason(answer), (answer.request, answer.status_code, told)
    if name != "api":
        assert "run `batch-gateway migrate`" in unready.text
        assert {400, 405} <= {answer.status_code for answer in answers}


def requests(http):
    """What an event function refuses, and what it takes: deadletter takes events of any type."""
    event = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "of.no.kind"}
    created = event | {"ce-type": "dev.batchgateway.batch.created.v1", "ce-gwsignature": "ab"}
    structured = {"content-type": "application/cloudevents+json"}
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
        yield http.request(method, "/")
        yield http.request(method, "/of/no/such/path", headers=event, content=b"{}")
    for headers, content in (
        ({}, b""),
        (event, b"{}"),
        (created, b'{"batch_id": "batch_1"}'),
        (event | {"ce-id": "%ff"}, b"{}"),
        (event | {"content-encoding": "gzip", "content-type": "text/plain"}, b"\x1f\x8b"),
        (structured, b'{"specversion": "1.0"'),
        (structured, b"x" * (MAX_EVENT_BYTES + 1)),
        (structured | {"content-type": "application/cloudevents-batch+json"}, b'[{"id": 1}]'),
    ):
        yield http.post("/", headers=headers, content=content)
        yield http.post("/of/no/such/path?a=b", headers=headers, content=content)


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_setting_that_a_function_reads_ends_it(name, tmp_path, valkey_url):
    """Commands tell the cause in one line, of what Kubernetes keeps of a container's output."""
    log = tmp_path / "log"

    with log.open("wb") as written:
        env = environment(tmp_path, valkey_url) | WRONG[name]
        async with running_function(name, env, stderr=written, stdout=written) as function:
            async with asyncio.timeout(PATIENCE_S):
                code = await function.process.wait()

    (variable,) = WRONG[name]
    written = log.read_text()
    assert code != 0
    assert error_line(written) == error_line(written[-500:])
    told = r"[\w.]+\.WrongSetting: setting [a-z_.]+: Input should be greater than 0; it is '-?\d' "
    assert re.fullmatch(told + re.escape(f"({variable})"), error_line(written))


async def test_the_cause_of_a_failed_start_is_found_in_a_log_of_json_too(tmp_path, valkey_url):
    env = environment(tmp_path, valkey_url) | {"HOST": "0.0.0.0"}
    env |= {"BATCH_GATEWAY_LOG__FORMAT": "json", "BATCH_GATEWAY_AUTH__KIND": "none"}
    log = tmp_path / "log"

    with log.open("wb") as written:
        async with running_function("planner", env, stderr=written, stdout=written) as function:
            async with asyncio.timeout(PATIENCE_S):
                assert await function.process.wait() != 0

    told = "auth.kind is none: not while listening on 0.0.0.0, name an authenticator"
    assert (
        error_line(log.read_text()) == error_line(log.read_text()[-900:]) == f"ValueError: {told}"
    )


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
