"""Keys, database users and passwords are rotated with batches in flight, as docs/events.md says."""

import asyncio
import shutil
import sqlite3
from collections import Counter

import pytest
from fixtures.gateway import chat_lines, custom_ids, encoded
from manifests.kustomize import ROOT

pytestmark = pytest.mark.e2e

LINES = 400
FEW = 80
SLOW = {"ttft_ms": 100, "slots": 8}
SCALE = 'autoscaling.knative.dev/min-scale: "0"'
#: A process notes soon that its configuration is old.
ALERT = {"probes": {"configuration_s": 0.5}}


def secrets(signing, sealing, engine, header):
    return {
        "events": {"signing_keys": signing},
        "webhooks": {"encryption_keys": sealing, "allow_http": True, "allow_private": True},
        "inference": {
            "api_key": engine,
            "pass_headers": "x-user-token",
            "header_keys": header,
        },
        **ALERT,
    }


def dead_letters(gateway):
    with sqlite3.connect(gateway.data / "metadata.db") as database:
        return database.execute("SELECT * FROM dead_letters").fetchall()


async def completed(gateway, batch, lines):
    ended = await gateway.ended(batch, seconds=240)
    output, errors = await gateway.results(ended)
    assert (ended.status, errors) == ("completed", [])
    assert custom_ids(output) == [f"line-{n}" for n in range(1, lines + 1)]


async def submitted(gateway, token, lines):
    """A batch whose calls carry a header of their own, which is sealed until it ends."""
    content = encoded(chat_lines(lines))
    file = await gateway.client.files.create(file=("input.jsonl", content), purpose="batch")
    return await gateway.client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        extra_headers={"x-user-token": token},
    )


async def test_two_steps_rotate_all_keys_without_losing_an_event(start_gateway, receiver):
    receiver.statuses = [204]
    old = secrets("old", "seal-old", "engine-old", "header-old")
    gateway = await start_gateway(settings={**old, "sweep": {}}, simulator=SLOW)
    await gateway.client.post(
        "/webhook_endpoints",
        body={"url": receiver.url, "name": "all", "event_types": ["batch.completed"]},
        cast_to=object,
    )
    first = await submitted(gateway, "first", LINES)
    await gateway.halfway(first, done=20)

    known = secrets("old,new", "seal-old,seal-new", "engine-new", "header-old,header-new")
    await gateway.platform.reconfigure(known)
    second = await submitted(gateway, "second", FEW)
    used = secrets("new,old", "seal-new,seal-old", "engine-new", "header-new,header-old")
    await gateway.platform.reconfigure(used)
    third = await submitted(gateway, "third", FEW)
    await completed(gateway, first, LINES)
    await asyncio.gather(*(completed(gateway, one, FEW) for one in (second, third)))
    # Nothing is sealed under the old header key any more, but the endpoint's secret is.
    last = secrets("new", "seal-new,seal-old", "engine-new", "header-new")
    await gateway.platform.reconfigure(last)
    fourth = await submitted(gateway, "fourth", FEW)

    await completed(gateway, fourth, FEW)
    assert dead_letters(gateway) == []
    await receiver.until_heard(4)
    calls = Counter(call["headers"]["x-user-token"] for call in await gateway.arrivals())
    wanted = dict.fromkeys(("first", "second", "third", "fourth"), FEW) | {"first": LINES}
    assert calls.keys() == wanted.keys()
    assert all(calls[token] >= lines for token, lines in wanted.items())


def new_role(server, name, password, owner):
    server.run(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {owner}")
    server.run(f"ALTER ROLE {name} SET role = {owner}")


def end_connections(server, user):
    server.run(
        f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{user}'"
    )


@pytest.fixture
def database(postgres_with_passwords):
    """The server, and a database of it that belongs to a role without a login."""
    server = postgres_with_passwords
    with server.database() as name:
        server.run("CREATE ROLE owner")
        server.run(f"ALTER DATABASE {name} OWNER TO owner")
        new_role(server, "first", "of-first", "owner")
        yield server, name


@pytest.fixture
def manifests(tmp_path):
    """The repository's own, but pods that have nothing to do are gone after six seconds.

    That is the shortest window that Knative allows.
    """
    root = tmp_path / "deployment"
    for folder in ("knative", "eventing", "functions"):
        shutil.copytree(ROOT / folder, root / folder)
    for path in (root / "knative/base").glob("*.yaml"):
        text = path.read_text().replace("scale-down-delay: 30s", "scale-down-delay: 0s")
        if "/window: " not in text:
            text = text.replace(SCALE, f"{SCALE}\n        autoscaling.knative.dev/window: 6s")
        path.write_text(text)
    return root


def on(url):
    return {"metadata": {"url": url}, "sweep": {"every_s": 2, "stuck_s": 5}, **ALERT}


async def until_gone(gateway, before):
    """Wait until no process of before is left."""
    async with asyncio.timeout(120):
        while any(
            before.intersection(gateway.platform.pids(name)) for name in gateway.platform.services
        ):
            await asyncio.sleep(0.1)


def processes(gateway):
    return {pid for name in gateway.platform.services for pid in gateway.platform.pids(name)}


@pytest.mark.postgres
@pytest.mark.timeout(400)
async def test_a_second_user_replaces_the_first_without_losing_a_line(
    start_gateway, database, manifests
):
    server, name = database
    gateway = await start_gateway(
        settings=on(server.url(name, "first", "of-first")), simulator=SLOW, root=manifests
    )
    batch = await gateway.submit(chat_lines(LINES))
    await gateway.halfway(batch, done=20)
    before = processes(gateway)

    await asyncio.to_thread(new_role, server, "second", "of-second", "owner")
    await gateway.platform.reconfigure(on(server.url(name, "second", "of-second")))
    later = await gateway.submit(chat_lines(FEW))
    await until_gone(gateway, before)
    last = await gateway.submit(chat_lines(2 * FEW))
    await gateway.halfway(last, done=20)
    await asyncio.to_thread(server.run, "ALTER ROLE first NOLOGIN")
    await asyncio.to_thread(end_connections, server, "first")

    for one, lines in ((batch, LINES), (later, FEW), (last, 2 * FEW)):
        await completed(gateway, one, lines)


@pytest.mark.postgres
@pytest.mark.timeout(400)
async def test_a_password_that_is_altered_in_one_step_delays_work_and_loses_none(
    start_gateway, database
):
    """Connections of before continue; whatever needs a new one waits for the new configuration."""
    server, name = database
    gateway = await start_gateway(
        settings=on(server.url(name, "first", "of-first")), simulator=SLOW
    )
    batch = await gateway.submit(chat_lines(LINES))
    await gateway.halfway(batch, done=20)

    await asyncio.to_thread(server.run, "ALTER ROLE first PASSWORD 'of-another'")
    await asyncio.to_thread(end_connections, server, "first")
    await gateway.platform.reconfigure(on(server.url(name, "first", "of-another")))
    last = await gateway.submit(chat_lines(FEW))

    await completed(gateway, batch, LINES)
    await completed(gateway, last, FEW)


async def test_a_key_that_is_replaced_in_one_step_delays_events_and_loses_none(start_gateway):
    gateway = await start_gateway(
        settings={
            "events": {"signing_keys": "old"},
            "sweep": {"every_s": 5, "stuck_s": 10, "unsent_s": 1},
        },
        simulator=SLOW,
    )
    batch = await gateway.submit(chat_lines(LINES))
    await gateway.halfway(batch, done=20)
    async with asyncio.timeout(90):
        while not gateway.platform.pids("janitor"):
            await asyncio.sleep(0.05)
    busy = {name: gateway.platform.pids(name) for name in ("janitor", "executor")}

    # A changed Secret alone: no new revision, and what runs knows the old key only.
    await gateway.platform.reconfigure({"events": {"signing_keys": "new"}}, roll=False)
    await gateway.platform.warm("planner")

    await completed(gateway, batch, LINES)
    for name, pids in busy.items():
        assert set(pids).isdisjoint(gateway.platform.pids(name)), name
