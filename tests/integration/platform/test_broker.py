"""The broker keeps Knative's data-plane rules, for producers and for subscribers."""

import asyncio
import base64
import json
import os
import signal

import pytest
import pytest_asyncio
from fixtures.toys import Toys, event_headers, eventually
from redis.asyncio import Redis

from batch_gateway.local.platform import ReplicaState

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUICK = {"retry": 2, "backoffPolicy": "exponential", "backoffDelay": "PT1S"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    """A broker with one Trigger for everything, for the whole module."""
    toys = Toys(tmp_path_factory.mktemp("broker"))
    toys.service()
    toys.broker(**QUICK)
    toys.trigger("all", "toy")
    async with toys.up() as running:
        yield running


@pytest.fixture
def running(shared):
    """The shared one, with an empty journal."""
    shared.toys.journal_path.write_text("")
    return shared


# -- ingress --------------------------------------------------------------------------------------


async def test_a_binary_event_arrives_as_it_was_sent(running):
    headers = event_headers("1", subject="caf%C3%A9 %25", gwsignature="abc")
    body = b'{ "big": 123456789012345678901234567890, "b": 1.10 }'

    answer = await running.http.post(running.platform.broker_url, headers=headers, content=body)
    (heard,) = await running.delivered("1")

    assert (answer.status_code, answer.content) == (202, b"")
    assert heard["body"].encode() == body
    assert heard["content_type"] == "application/json"
    assert heard["prefer"] == "reply"
    assert heard["attributes"]["subject"] == "caf%C3%A9%20%25"
    assert heard["attributes"]["gwsignature"] == "abc"
    assert heard["attributes"]["specversion"] == "1.0"
    assert "knativebrokerttl" not in heard["attributes"]


async def test_a_structured_event_arrives(running):
    event = {"specversion": "1.0", "id": "1", "source": "/t", "type": "a", "data": {"x": [1]}}
    event |= {"flag": True, "number": 7, "subject": "é"}

    answer = await running.http.post(
        running.platform.broker_url,
        headers={"Content-Type": "application/cloudevents+json; charset=utf-8"},
        content=json.dumps(event),
    )
    (heard,) = await running.delivered("1")

    assert answer.status_code == 202
    assert json.loads(heard["body"]) == {"x": [1]}
    assert heard["content_type"] == "application/json"
    assert heard["attributes"]["flag"] == "true"
    assert heard["attributes"]["number"] == "7"
    assert heard["attributes"]["subject"] == "%C3%A9"


async def test_a_batch_of_events_arrives_one_by_one(running):
    common = {"specversion": "1.0", "source": "/t", "type": "a"}
    raw = base64.b64encode(b'{"x": 1}').decode()
    events = [common | {"id": "1", "data": {}}, common | {"id": "2", "data_base64": raw}]

    answer = await running.http.post(
        running.platform.broker_url,
        headers={"Content-Type": "application/cloudevents-batch+json"},
        content=json.dumps(events),
    )
    (_,) = await running.delivered("1")
    (second,) = await running.delivered("2")

    assert answer.status_code == 202
    assert second["body"] == '{"x": 1}'


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "application/json"}, b"{}"),
        (event_headers("1", specversion="9000.1"), b"{}"),
        ({k: v for k, v in event_headers("1").items() if k != "ce-source"}, b"{}"),
        (event_headers("", type="a"), b"{}"),
        ({"Content-Type": "application/cloudevents+json"}, b"{not json"),
        ({"Content-Type": "application/cloudevents+json"}, b"[]"),
        ({"Content-Type": "application/cloudevents-batch+json"}, b"{}"),
        (event_headers("1", knativebrokerttl="1"), b"{}"),
    ],
    ids=[
        "no-event",
        "unknown-version",
        "no-source",
        "empty-id",
        "bad-json",
        "no-object",
        "batch-without-list",
        "gone-round-too-often",
    ],
)
async def test_what_is_no_event_is_answered_400(running, headers, body):
    answer = await running.http.post(running.platform.broker_url, headers=headers, content=body)

    assert answer.status_code == 400
    assert answer.text


async def test_other_methods_and_unknown_brokers_are_told_apart(running):
    url = running.platform.broker_url

    get = await running.http.get(url)
    options = await running.http.options(url, headers={"WebHook-Request-Origin": "me.example"})
    unknown = await running.http.post(url + "x", headers=event_headers("1"), content=b"{}")

    assert (get.status_code, get.headers["allow"]) == (405, "POST, OPTIONS")
    assert (options.status_code, options.headers["allow"]) == (200, "POST, OPTIONS")
    assert options.headers["webhook-allowed-origin"] == "me.example"
    assert options.headers["webhook-allowed-rate"] == "*"
    assert unknown.status_code == 404


# -- triggers -------------------------------------------------------------------------------------


async def test_each_matching_trigger_delivers_once(toys):
    toys.service("front")
    for name in ("one", "two", "three"):
        toys.service(name, public=False)
    toys.broker(**QUICK)
    toys.trigger("legacy", "one", filter={"attributes": {"type": "a", "extra": ""}})
    toys.trigger(
        "prefix", "two", filters=[{"prefix": {"type": "a"}}, {"not": {"suffix": {"type": "z"}}}]
    )
    toys.trigger(
        "other", "three", filters=[{"any": [{"exact": {"type": "q"}}, {"exact": {"id": "last"}}]}]
    )
    async with toys.up() as running:
        await running.emit("1", "a", extra="here")
        await running.emit("2", "a")
        await running.emit("3", "abz")
        await running.emit("last", "q")
        await running.delivered("last")
        await running.delivered("1", 2)
        await running.delivered("2")

    heard = sorted((entry["attributes"]["id"], entry["service"]) for entry in toys.heard())
    assert heard == [("1", "one"), ("1", "two"), ("2", "two"), ("last", "three")]


async def test_a_subscriber_may_be_a_path_of_a_service(toys):
    toys.service()
    toys.broker()
    subscriber = {"ref": {"kind": "Service", "name": "toy"}, "uri": "/deep/path"}
    toys.trigger("all", "toy", subscriber=subscriber)
    async with toys.up() as running:
        await running.emit("1")

        (heard,) = await running.delivered("1")

        assert heard["path"] == "/deep/path"


async def test_deliveries_do_not_wait_for_each_other(running):
    await running.emit("slow", data={"sleep": 2})
    await running.delivered("slow")

    await running.emit("quick")

    await running.delivered("quick")
    assert len(running.toys.heard("slow")) == 1
    await settled(running)


# -- outcomes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 408, 409, 429, 500, 502, 503, 504])
async def test_a_temporary_failure_is_tried_again(running, status):
    await running.emit("1", data={"fail": [status, status]})
    await running.delivered("1", 3)
    await settled(running)

    assert len(running.toys.heard("1")) == 3


@pytest.mark.parametrize("status", [301, 400, 401, 403, 410, 413])
async def test_a_permanent_failure_is_not_tried_again(running, status):
    await running.emit("1", data={"fail": [status]})
    await running.delivered("1")
    await settled(running)

    assert len(running.toys.heard("1")) == 1


async def test_after_the_last_try_an_event_is_dropped_with_a_line_in_the_log(running):
    await running.emit("1", data={"fail": [503] * 9})
    await running.delivered("1", 3)
    await settled(running)

    assert len(running.toys.heard("1")) == 3
    log = (running.toys.data / "logs" / "broker.log").read_text()
    assert "dropped a 1, undeliverable to all: 503" in log


async def test_an_undeliverable_event_goes_to_the_dead_letter_sink(toys):
    toys.service("front")
    toys.service("undertaker", public=False)
    sink = {"ref": {"kind": "Service", "name": "undertaker"}}
    toys.broker(deadLetterSink=sink, **QUICK)
    toys.trigger("all", "front")
    async with toys.up() as running:
        await running.emit("1", data={"fail": [[400, "not signed\n"]]})
        await running.emit("2", data={"fail": [[400, "ä" * 700]]})
        await running.emit("3", data={"fail": [400]})

        letters = {}
        for id_ in ("1", "2", "3"):
            await running.delivered(id_, 2)
            heard = next(e for e in toys.heard(id_) if e["service"] == "undertaker")
            letters[id_] = heard["attributes"]

        assert letters["1"]["knativeerrorcode"] == "400"
        assert letters["1"]["knativeerrordest"] == "http://front.default.svc.cluster.local/"
        assert letters["1"]["knativeerrordata"] == base64.b64encode(b"not signed\n").decode()
        cut = base64.b64encode(("ä" * 700).encode()).decode()[:1024]
        assert letters["2"]["knativeerrordata"] == cut
        assert letters["3"]["knativeerrordata"] == ""


async def test_a_dead_letter_tells_of_a_subscriber_that_has_not_answered(toys):
    toys.service("front")
    toys.service("undertaker", public=False, annotations={"min-scale": "1"})
    sink = {"ref": {"kind": "Service", "name": "undertaker"}}
    toys.broker(deadLetterSink=sink, retry=0, timeout="PT1S")
    toys.trigger("all", "front")
    async with toys.up() as running:
        await eventually(lambda: len(running.platform.states("undertaker")) == 1)
        await eventually(
            lambda: (
                {state for state, _ in running.platform.states("undertaker").values()}
                == {ReplicaState.READY}
            )
        )
        await running.emit("1", data={"sleep": 20})

        await eventually(lambda: any(e["service"] == "undertaker" for e in toys.heard("1")))

        letter = next(e for e in toys.heard("1") if e["service"] == "undertaker")["attributes"]
        assert letter["knativeerrorcode"] == "500"
        assert base64.b64decode(letter["knativeerrordata"]).startswith(b"dispatch error: ")


async def test_a_delivery_that_takes_too_long_is_tried_again(toys):
    toys.service()
    toys.broker(**QUICK, timeout="PT1S")
    toys.trigger("all", "toy")
    async with toys.up() as running:
        await running.emit("1", data={"sleep": 20})

        await running.delivered("1", 3)


async def test_a_trigger_s_own_delivery_replaces_the_broker_s(toys):
    toys.service()
    toys.broker(**QUICK)
    toys.trigger("all", "toy", delivery={"retry": 0})
    async with toys.up() as running:
        await running.emit("1", data={"fail": [500]})
        await running.delivered("1")
        await settled(running)

        assert len(toys.heard("1")) == 1


async def test_a_body_that_is_no_event_makes_a_failed_delivery(running):
    await running.emit("1", data={"status": 200, "body": "OK"})
    await running.emit("2", data={"status": 202, "body": "null"})
    await running.delivered("1", 3)
    await running.delivered("2", 3)
    await settled(running)

    assert (len(running.toys.heard("1")), len(running.toys.heard("2"))) == (3, 3)


async def test_a_reply_enters_the_broker(running):
    reply = {"specversion": "1.0", "id": "reply", "source": "/toy", "type": "b"}
    await running.emit("1", data={"reply": reply})

    (heard,) = await running.delivered("reply")

    assert heard["attributes"]["type"] == "b"
    await settled(running)
    assert len(running.toys.heard("1")) == 1


async def test_a_loop_of_replies_ends(running):
    reply = {"specversion": "1.0", "id": "again", "source": "/toy", "type": "b"}
    headers = event_headers("1", knativebrokerttl="3")  # two hops are left after coming in
    await running.http.post(
        running.platform.broker_url, headers=headers, content=json.dumps({"reply": reply})
    )
    await running.delivered("again")
    await settled(running)

    assert len(running.toys.heard("again")) == 1


# -- durability -----------------------------------------------------------------------------------


async def test_a_settled_event_leaves_nothing_behind(running):
    await running.emit("1")
    await running.delivered("1")

    await settled(running)


async def test_a_killed_broker_delivers_what_it_had_not(toys):
    toys.service()
    toys.broker(retry=10, backoffPolicy="exponential", backoffDelay="PT1S")
    toys.trigger("all", "toy")
    async with toys.up() as running:
        await running.emit("held", data={"sleep": 30})
        await running.delivered("held")  # in flight
        for number in range(20):
            await running.emit(f"failing-{number}", data={"fail": [503]})

        await running.platform.kill_broker()

        await running.delivered("held", 2)
        for number in range(20):
            await running.delivered(f"failing-{number}", 2)


async def test_events_survive_a_restart_of_the_platform(toys):
    toys.service()
    toys.broker(retry=10, backoffPolicy="exponential", backoffDelay="PT10S")
    toys.trigger("all", "toy")
    async with toys.up() as running:
        await running.emit("1", data={"fail": [503]})
        await running.delivered("1")

    async with toys.up() as running:
        await running.delivered("1", 2)


async def test_a_killed_replica_gets_its_event_again(toys):
    toys.service()
    toys.service("back", public=False, concurrency=1)
    toys.broker(**QUICK)
    toys.trigger("all", "back")
    async with toys.up() as running:
        await running.emit("1", data={"sleep": 1})
        (first,) = await running.delivered("1")

        running.platform.kill("back")

        _, second = await running.delivered("1", 2)
        assert second["pid"] != first["pid"]


async def settled(running) -> None:
    """Wait until the broker has nothing left to do."""
    config = json.loads((running.platform.data / "run" / "broker.json").read_text())
    async with Redis.from_url(config["redis_url"]) as redis, asyncio.timeout(90):
        streams = [key async for key in redis.scan_iter(match="events:*")]
        assert streams
        while sum([await redis.xlen(stream) for stream in streams]):
            await asyncio.sleep(0.02)


async def test_a_killed_event_store_comes_back_with_its_events(toys):
    toys.service()
    toys.broker(retry=10, backoffPolicy="exponential", backoffDelay="PT1S")
    toys.trigger("all", "toy")
    async with toys.up() as running:
        await running.emit("1", data={"fail": [503] * 3})
        config = json.loads((running.platform.data / "run" / "broker.json").read_text())
        async with Redis.from_url(config["redis_url"]) as redis:
            os.kill((await redis.info("server"))["process_id"], signal.SIGKILL)

        await running.delivered("1", 4)
        await running.emit("2")
        await running.delivered("2")
        await settled(running)
