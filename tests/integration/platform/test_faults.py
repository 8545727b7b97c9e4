"""Trouble on request, and the timer."""

import asyncio

import httpx
import pytest
from fixtures.toys import eventually

from batch_gateway.local.platform import BrokerFaults

QUICK = {"retry": 2, "backoffPolicy": "exponential", "backoffDelay": "PT1S"}


@pytest.fixture
async def running(toys):
    toys.service()
    toys.broker(**QUICK)
    toys.trigger("all", "toy")
    async with toys.up(faults=True) as running:
        yield running


async def test_lost_events_never_arrive(running, toys):
    await running.platform.set_faults(BrokerFaults(drop=1, types=("a",)))

    await running.emit("lost", "a")
    await running.emit("other", "b")

    await running.delivered("other")
    assert toys.heard("lost") == []


async def test_duplicated_events_arrive_twice(running):
    await running.platform.set_faults(BrokerFaults(duplicate=1))

    await running.emit("1")

    await running.delivered("1", 2)


async def test_delayed_events_are_overtaken(running, toys):
    await running.platform.set_faults(BrokerFaults(delay=1, delay_s=20, types=("a",)))

    await running.emit("delayed", "a")
    await running.emit("quick", "b")

    await running.delivered("delayed")
    assert [entry["attributes"]["id"] for entry in toys.heard()] == ["quick", "delayed"]


async def test_reordered_events_all_arrive(running, toys):
    await running.platform.set_faults(BrokerFaults(reorder=1, delay_s=20))
    sent = [str(number) for number in range(30)]

    for id_ in sent:
        await running.emit(id_)

    await eventually(lambda: len(toys.heard()) == len(sent))
    heard = [entry["attributes"]["id"] for entry in toys.heard()]
    assert sorted(heard) == sorted(sent)
    assert heard != sent


async def test_faults_outlive_a_killed_broker(running, toys):
    await running.platform.set_faults(BrokerFaults(drop=1, types=("a",)))
    await running.platform.kill_broker()

    await answering(running)
    await running.emit("lost", "a")
    await running.emit("other", "b")

    await running.delivered("other")
    assert toys.heard("lost") == []


async def test_faults_must_be_allowed_at_start(toys):
    toys.service()
    toys.broker()
    async with toys.up() as running:
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            await running.platform.set_faults(BrokerFaults(drop=1))


async def test_a_timer_ticks_by_its_schedule(toys):
    toys.service("front")
    toys.service("janitor", public=False)
    toys.ping("janitor", data='{"x": 1}', contentType="application/json")
    async with toys.up(speed_up=200):  # a minute lasts 0.3 s
        await eventually(lambda: len(toys.heard()) >= 2)

        first, second = (entry["attributes"] for entry in toys.heard()[:2])
        assert first["type"] == "dev.knative.sources.ping"
        assert first["source"] == "/apis/v1/namespaces/default/pingsources/tick"
        assert first["id"] != second["id"]
        assert toys.heard()[0]["body"] == '{"x": 1}'


async def test_a_timer_ticks_at_once_on_a_folder_with_a_past(toys):
    toys.service()
    toys.broker()
    toys.ping("toy", schedule="0 0 29 2 *")
    async with toys.up():
        pass
    assert toys.heard() == []

    async with toys.up():
        await eventually(lambda: len(toys.heard()) == 1)


async def answering(running) -> None:
    """Wait until the broker is back."""
    async with asyncio.timeout(90):
        while True:
            try:
                await running.http.options(running.platform.broker_url)
            except httpx.TransportError:
                await asyncio.sleep(0.02)
            else:
                return
