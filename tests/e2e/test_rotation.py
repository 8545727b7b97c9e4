"""Keys and database users are rotated while batches are in flight, as docs/events.md says."""

import asyncio
import sqlite3

import pytest
from fixtures.gateway import chat_lines, custom_ids

pytestmark = pytest.mark.e2e

LINES = 400
SLOW = {"ttft_ms": 100, "slots": 8}


def secrets(signing, sealing, engine):
    return {
        "events": {"signing_keys": signing},
        "webhooks": {"encryption_keys": sealing, "allow_http": True, "allow_private": True},
        "inference": {"api_key": engine},
    }


def dead_letters(gateway):
    with sqlite3.connect(gateway.data / "metadata.db") as database:
        return database.execute("SELECT * FROM dead_letters").fetchall()


async def completed(gateway, batch):
    ended = await gateway.ended(batch, seconds=240)
    output, errors = await gateway.results(ended)
    assert (ended.status, errors) == ("completed", [])
    assert custom_ids(output) == [f"line-{n}" for n in range(1, LINES + 1)]


async def test_two_steps_rotate_all_keys_without_losing_an_event(start_gateway, receiver):
    receiver.statuses = [204]
    gateway = await start_gateway(
        settings={**secrets("old", "seal-old", "engine-old"), "sweep": {}}, simulator=SLOW
    )
    await gateway.client.post(
        "/webhook_endpoints",
        body={"url": receiver.url, "name": "all", "event_types": ["batch.completed"]},
        cast_to=object,
    )
    first = await gateway.submit(chat_lines(LINES))
    await gateway.halfway(first, done=20)

    known = secrets("old,new", "seal-old,seal-new", "engine-new")
    await gateway.platform.reconfigure(known)
    second = await gateway.submit(chat_lines(LINES))
    used = secrets("new,old", "seal-new,seal-old", "engine-new")
    await gateway.platform.reconfigure(used)
    await asyncio.gather(completed(gateway, first), completed(gateway, second))
    await gateway.platform.reconfigure(secrets("new", "seal-new,seal-old", "engine-new"))
    third = await gateway.submit(chat_lines(LINES))

    await completed(gateway, third)
    assert dead_letters(gateway) == []
    await receiver.until_heard(3)


@pytest.fixture
def roles(postgres_server):
    """URLs of one database for two users of the same rights, and what ends the first one."""
    with postgres_server.database() as database:
        owner, users = f"{database}_owner", [f"{database}_first", f"{database}_second"]
        postgres_server.run(f"CREATE ROLE {owner}")
        postgres_server.run(f"ALTER DATABASE {database} OWNER TO {owner}")
        for user in users:
            postgres_server.run(f"CREATE ROLE {user} LOGIN IN ROLE {owner}")
            postgres_server.run(f"ALTER ROLE {user} SET role = {owner}")

        def end_first():
            postgres_server.run(f"ALTER ROLE {users[0]} NOLOGIN")
            postgres_server.run(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                f" WHERE usename = '{users[0]}'"
            )

        url = postgres_server.url(database)
        yield *(url.replace("postgres@", f"{user}@") for user in users), end_first
        for user in users:
            postgres_server.run(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                f" WHERE usename = '{user}'"
            )
            postgres_server.run(f"DROP ROLE {user}")


@pytest.mark.postgres
@pytest.mark.timeout(400)
async def test_the_database_user_is_replaced_without_losing_a_line(start_gateway, roles):
    first, second, end_first = roles
    gateway = await start_gateway(
        settings={"metadata": {"url": first}, "sweep": {"every_s": 5, "stuck_s": 10}},
        simulator=SLOW,
    )
    batch = await gateway.submit(chat_lines(LINES))
    await gateway.halfway(batch, done=20)
    before = {pid for name in gateway.platform.services for pid in gateway.platform.pids(name)}

    await gateway.platform.reconfigure({"metadata": {"url": second}})
    later = await gateway.submit(chat_lines(LINES))
    async with asyncio.timeout(120):
        while any(
            before.intersection(gateway.platform.pids(name)) for name in gateway.platform.services
        ):
            await asyncio.sleep(0.1)
    last = await gateway.submit(chat_lines(LINES))
    await gateway.halfway(last, done=20)
    await asyncio.to_thread(end_first)

    for one in (batch, later, last):
        await completed(gateway, one)


async def test_a_key_that_is_replaced_in_one_step_delays_events_and_loses_none(start_gateway):
    gateway = await start_gateway(
        settings={**{"events": {"signing_keys": "old"}}, "sweep": {"every_s": 5, "stuck_s": 10}},
        simulator=SLOW,
    )
    batch = await gateway.submit(chat_lines(LINES))
    await gateway.halfway(batch, done=20)
    busy = {name: gateway.platform.pids(name) for name in ("janitor", "executor")}

    # A changed Secret alone: no new revision, and what runs knows the old key only.
    await gateway.platform.reconfigure({"events": {"signing_keys": "new"}}, roll=False)
    await gateway.platform.warm("planner")

    await completed(gateway, batch)
    for name, pids in busy.items():
        assert set(pids).isdisjoint(gateway.platform.pids(name)), name
