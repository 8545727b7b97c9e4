"""Keys are rotated while batches are in flight: by the two steps of docs/events.md, and in one."""

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
