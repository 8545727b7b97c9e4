"""A first installation, and new revisions: who waits for whom, as on a cluster."""

import asyncio

import pytest
from fixtures.toys import eventually

from batch_gateway.local.platform import PlatformError

CLASSES = ("MTChannelBasedBroker", "Kafka", "RabbitMQBroker")
UNDERTAKER = {"ref": {"kind": "Service", "name": "undertaker"}}


def deployed(toys, class_, **env):
    """A front, an inner function, a dead letter sink and a Broker, all with K_SINK."""
    toys.service("front", env=env)
    toys.service("back", public=False, env=env)
    toys.service("undertaker", public=False, env=env)
    toys.broker(class_, deadLetterSink=UNDERTAKER, retry=0)
    toys.trigger("all", "back")


async def environment(running, service):
    host = {"Host": running.platform.host(service)}
    return (await running.http.get(running.platform.internal_url, headers=host)).json()["env"]


@pytest.mark.parametrize("class_", CLASSES)
async def test_functions_that_start_without_a_sink_get_it_by_a_second_revision(toys, class_):
    deployed(toys, class_)

    async with toys.up(first_install=True) as running:
        for service in ("front", "back", "undertaker"):
            env = await environment(running, service)
            assert env["K_REVISION"] == f"{service}-00002"
            assert env["K_SINK"] == running.platform.broker_url
        await running.emit("1")
        await running.delivered("1")


@pytest.mark.parametrize("class_", ["MTChannelBasedBroker", "Kafka"])
async def test_functions_that_need_a_sink_to_start_are_a_circle(toys, class_):
    deployed(toys, class_, TOY_REQUIRES="K_SINK")

    with pytest.raises(PlatformError) as caught:
        async with toys.up(first_install=True, install_s=5):
            pass

    assert "Broker events: its dead letter sink has no address" in str(caught.value)
    assert "Service undertaker: ended with exit code 1" in str(caught.value)


async def test_rabbitmq_s_class_breaks_that_circle_since_it_sets_its_address_first(toys):
    deployed(toys, "RabbitMQBroker", TOY_REQUIRES="K_SINK")

    async with toys.up(first_install=True) as running:
        assert (await environment(running, "back"))["K_SINK"] == running.platform.broker_url


async def test_new_settings_make_new_revisions_while_busy_replicas_of_the_old_go_on(toys):
    toys.service()
    async with toys.up(settings={"log": {"level": "error"}}) as running:
        asked = asyncio.create_task(running.http.get("/sleep", params={"s": "3"}))
        await eventually(lambda: toys.slept("begin") == 1)
        [old] = running.platform.pids("toy")

        await running.platform.reconfigure({"log": {"level": "debug"}})

        env = (await running.http.get("/")).json()["env"]
        assert env["K_REVISION"] == "toy-00002"
        assert env["BATCH_GATEWAY_LOG__LEVEL"] == "debug"
        assert old in running.platform.pids("toy")
        assert (await asked).text == str(old)
        await eventually(lambda: old not in running.platform.pids("toy"))


async def test_changed_settings_alone_are_read_by_replicas_that_start_later(toys):
    toys.service()
    async with toys.up(settings={"log": {"level": "error"}}) as running:
        await running.platform.reconfigure({"log": {"level": "debug"}}, roll=False)

        env = (await running.http.get("/")).json()["env"]
        assert env["BATCH_GATEWAY_LOG__LEVEL"] == "error"
        await eventually(lambda: running.platform.pids("toy") == [])
        env = (await running.http.get("/")).json()["env"]

    assert (env["K_REVISION"], env["BATCH_GATEWAY_LOG__LEVEL"]) == ("toy-00001", "debug")
