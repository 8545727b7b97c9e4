"""Events over HTTP, received by a real server and decoded by the CloudEvents SDK."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from cloudevents.http import CloudEvent, from_http

from batch_gateway.adapters.events_http import HttpEventSink
from batch_gateway.core.errors import Permanent, Temporary, Unavailable
from batch_gateway.core.events import SOURCE, Event, EventType, internal_event, signed_by, wake_up
from batch_gateway.core.ids import BatchId

KEYS = [b"first", b"second"]
SECONDS = timedelta(seconds=5)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CREATED = internal_event(EventType.BATCH_CREATED, BatchId("batch_1"), traceparent=TRACE)


class Broker:
    """Notes what it receives and answers ``status``; None: not before it is stopped."""

    def __init__(self) -> None:
        self.url = ""
        self.status: int | None = 202
        self.stopping = asyncio.Event()
        self.received: list[tuple[dict[str, str], bytes]] = []

    async def __call__(self, request: web.Request) -> web.Response:
        self.received.append((dict(request.headers), await request.read()))
        if self.status is None:
            await self.stopping.wait()
        return web.Response(
            status=self.status or 202, text="as told", headers={"location": "/elsewhere"}
        )

    def events(self) -> list[CloudEvent]:
        return [from_http(headers, body) for headers, body in self.received]


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    broker = Broker()
    runner = web.ServerRunner(web.Server(broker), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    broker.url = f"http://127.0.0.1:{runner.addresses[0][1]}/namespace/broker"
    yield broker
    broker.stopping.set()
    await runner.cleanup()


@pytest.fixture
async def sink(broker: Broker) -> AsyncIterator[HttpEventSink]:
    sink = HttpEventSink(broker.url, keys=KEYS, timeout=SECONDS)
    yield sink
    await sink.close()


def received(event: CloudEvent) -> Event:
    return Event(
        id=event["id"],
        type=EventType(event["type"]),
        subject=event["subject"],
        data=event.data,
        traceparent=event.get("traceparent"),
    )


async def test_an_event_arrives_as_it_was_sent(broker: Broker, sink: HttpEventSink):
    before = datetime.now(UTC)

    await sink.send(CREATED)

    (event,) = broker.events()
    assert received(event) == CREATED
    assert event["source"] == SOURCE
    assert event["specversion"] == "1.0"
    assert before <= datetime.fromisoformat(event["time"]) <= datetime.now(UTC)


async def test_an_event_carries_traceparent_and_tracestate(broker: Broker, sink: HttpEventSink):
    await sink.send(replace(CREATED, traceparent=f"{TRACE} a=1,b=2"))

    (event,) = broker.events()
    assert (event["traceparent"], event["tracestate"]) == (TRACE, "a=1,b=2")


async def test_an_event_is_sent_in_binary_mode(broker: Broker, sink: HttpEventSink):
    await sink.send(CREATED)

    ((headers, body),) = broker.received
    assert headers["Content-Type"] == "application/json"
    assert headers["ce-id"] == "batch_1/created"
    assert body == b'{"batch_id": "batch_1"}'


async def test_an_event_carries_the_signature_of_the_first_key(broker: Broker, sink: HttpEventSink):
    await sink.send(CREATED)

    (event,) = broker.events()
    assert signed_by(KEYS, received(event), event["gwsignature"])
    assert signed_by(KEYS[:1], received(event), event["gwsignature"])
    assert not signed_by(KEYS[1:], received(event), event["gwsignature"])


async def test_without_keys_and_trace_an_event_carries_neither(broker: Broker):
    sink = HttpEventSink(broker.url, keys=[], timeout=SECONDS)

    await sink.send(wake_up(bytes(12)))
    await sink.close()

    (event,) = broker.events()
    assert event.get("gwsignature") is None
    assert event.get("traceparent") is None
    assert event.data == {}


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_any_2xx_is_taken(broker: Broker, sink: HttpEventSink, status: int):
    broker.status = status

    await sink.send(CREATED)

    assert len(broker.received) == 1


@pytest.mark.parametrize(
    "status", [307, 401, 403, 404, 405, 408, 409, 410, 429, 500, 502, 503, 504]
)
async def test_what_is_not_the_event_s_fault_is_temporary(
    broker: Broker, sink: HttpEventSink, status: int
):
    """The token of the sender has expired, the Broker is not there: the event stays unsent."""
    broker.status = status

    with pytest.raises(Temporary, match=f"answers {status}"):
        await sink.send(CREATED)

    assert len(broker.received) == 1


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_a_refusal_is_permanent_and_says_why(
    broker: Broker, sink: HttpEventSink, status: int
):
    broker.status = status

    with pytest.raises(Permanent, match=f"answers {status}: as told"):
        await sink.send(CREATED)


async def test_a_broker_that_is_not_there_is_unavailable():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        sink = HttpEventSink(
            f"http://127.0.0.1:{reserved.getsockname()[1]}/", keys=KEYS, timeout=SECONDS
        )

        with pytest.raises(Unavailable, match="event sink http"):
            await sink.send(CREATED)

    await sink.close()


async def test_a_broker_that_is_silent_is_unavailable_after_the_time_out(broker: Broker):
    broker.status = None
    sink = HttpEventSink(broker.url, keys=KEYS, timeout=timedelta(milliseconds=200))

    with pytest.raises(Unavailable, match="event sink http"):
        await sink.send(CREATED)

    assert len(broker.received) == 1
    await sink.close()


async def test_events_may_be_sent_at_the_same_time(broker: Broker, sink: HttpEventSink):
    events = [wake_up(bytes([n]) * 12) for n in range(20)]

    await asyncio.gather(*(sink.send(event) for event in events))

    assert {event["id"] for event in broker.events()} == {event.id for event in events}


async def test_a_sink_may_be_closed_unused():
    sink = HttpEventSink("http://127.0.0.1:9/", keys=KEYS, timeout=SECONDS)

    await sink.close()


async def test_a_token_is_sent_as_it_is_at_that_moment_and_only_if_there_is_one(broker, tmp_path):
    token = tmp_path / "token"
    sink = HttpEventSink(broker.url, keys=KEYS, timeout=SECONDS, token_file=token)

    await sink.send(CREATED)
    for content in ("first\n", "second"):
        token.write_text(content)
        await sink.send(CREATED)
    await sink.close()

    sent = [
        headers.get("authorization", headers.get("Authorization")) for headers, _ in broker.received
    ]
    assert sent == [None, "Bearer first", "Bearer second"]
