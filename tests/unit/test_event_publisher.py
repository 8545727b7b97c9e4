"""What is documented as never raising does not raise, whatever the broker or the stores do."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from fixtures.metadata import a_batch

from batch_gateway.core.errors import Permanent, Unavailable
from batch_gateway.core.events import EventType, internal_event
from batch_gateway.core.ids import BatchId
from batch_gateway.core.model import BatchStatus, LineCounts
from batch_gateway.services import event_publisher
from batch_gateway.services.event_publisher import ActivationTrigger, EventPublisher, JanitorTrigger
from batch_gateway.services.instance_heartbeat import InstanceHeartbeat
from batch_gateway.services.maintenance.outbox_relay import OutboxRelay
from batch_gateway.services.progress_events import ProgressEvents
from batch_gateway.services.webhooks.outbox import WebhookOutbox
from batch_gateway.wiring.configuration_watch import ConfigurationWatch, RunningConfiguration

FAULTS = [
    Unavailable("away"),
    Permanent("refused"),
    RuntimeError("not foreseen"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    OSError("no route"),
]
EVENT = internal_event(EventType.BATCH_CREATED, BatchId("batch_a"))


class Faulty:
    """Each of its methods raises ``fault``."""

    def __init__(self, fault: Exception) -> None:
        self.fault = fault
        self.asked = 0

    def __getattr__(self, _name: str):
        async def method(*_args, **_options):
            self.asked += 1
            raise self.fault

        return method


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_announcing_calling_and_waking_never_raise(fault):
    faulty = Faulty(fault)
    caller = JanitorTrigger(faulty, faulty)

    await caller.call()
    await caller.call(at_once=True)
    await EventPublisher(faulty, faulty).publish(EVENT, EVENT)
    assert not await ActivationTrigger(faulty, faulty, 3).wake()
    await WebhookOutbox(faulty, faulty, Clock(), faulty).wake()


def loops(store):
    """What each function runs beside its work, as its name and coroutine."""
    coordination = SimpleNamespace(announced=store.a, announce=store.b, function_instances=store)
    own = RunningConfiguration(function="api", generation=1, settings="s", signing_keys="k")
    metadata = SimpleNamespace(outbox=store, batches=store)
    publisher = EventPublisher(store, store)
    relay = OutboxRelay(
        metadata, publisher, JanitorTrigger(store, store), Clock(), patience=timedelta(0)
    )
    publisher.published.set()
    watch = ConfigurationWatch(
        coordination, own, superseded=asyncio.Event(), ready=store.ready, look_s=0.001
    )
    yield InstanceHeartbeat(store, "api", every=timedelta(milliseconds=1)).run()
    yield watch.run()
    yield relay.run()


@pytest.mark.parametrize("number", range(3), ids=["heartbeat", "configuration", "outbox"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_loops_that_never_raise_go_on(fault, number):
    faulty = Faulty(fault)
    made = list(loops(faulty))
    running = asyncio.create_task(made.pop(number))
    for other in made:
        other.close()

    async with asyncio.timeout(45):
        while faulty.asked < 3 and not running.done():
            await asyncio.sleep(0.001)

    assert not running.done()
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()


async def test_a_step_of_progress_that_cannot_be_told_raises_nothing():
    batch = a_batch(status=BatchStatus.IN_PROGRESS, counts=LineCounts(total=10, completed=5))
    for fault in FAULTS:
        faulty = Faulty(fault)
        observer = ProgressEvents(faulty, faulty, Clock())

        await observer.check(None, batch)

        assert faulty.asked


class Clock:
    def now(self):
        return datetime.now(UTC)


async def test_an_event_that_cannot_be_encoded_keeps_no_other_from_being_sent():
    class Sink:
        def __init__(self):
            self.sent = []

        async def send(self, event):
            if event.subject == "broken":
                raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
            self.sent.append(event.subject)

    class Outbox:
        def __init__(self):
            self.forgotten = []

        async def sent(self, ids):
            self.forgotten += ids

    sink, outbox = Sink(), Outbox()
    events = [
        internal_event(EventType.BATCH_COMPLETED, BatchId(name)) for name in ("a", "broken", "b")
    ]

    await EventPublisher(outbox, sink).publish(*events)
    await asyncio.sleep(0)

    assert sink.sent == ["a", "b"]
    assert outbox.forgotten == [events[0].id, events[2].id]


async def test_events_are_forgotten_together_while_that_is_done_later(monkeypatch):
    monkeypatch.setattr(event_publisher, "_FORGOTTEN_AFTER_S", 0.5)
    forgotten = []

    class Sink:
        async def send(self, event):
            """Takes everything."""

    class Outbox:
        async def sent(self, ids):
            forgotten.append(list(ids))

    publisher = EventPublisher(Outbox(), Sink())
    events = [internal_event(EventType.BATCH_CREATED, BatchId(name)) for name in ("a", "b", "c")]
    later = asyncio.create_task(publisher.forget_later())
    await asyncio.sleep(0)

    await publisher.publish(events[0])
    await publisher.publish(events[1])
    async with asyncio.timeout(45):
        while not forgotten:
            await asyncio.sleep(0.01)
    assert forgotten == [[events[0].id, events[1].id]]

    await publisher.publish(events[2])
    later.cancel()
    await asyncio.wait({later})
    assert forgotten[1:] == [[events[2].id]]  # what is left when the process ends


async def test_an_event_is_sent_in_the_background_and_before_the_process_ends():
    let_through = asyncio.Event()
    sent, forgotten = [], []

    class Sink:
        async def send(self, event):
            await let_through.wait()
            sent.append(event.id)

    class Outbox:
        async def sent(self, ids):
            forgotten.extend(ids)

    publisher = EventPublisher(Outbox(), Sink())
    event = internal_event(EventType.BATCH_CREATED, BatchId("a"))
    later = asyncio.create_task(publisher.forget_later())
    await asyncio.sleep(0)

    await publisher.publish_soon(event)  # returns, though the broker does not answer
    assert (sent, forgotten) == ([], [])

    later.cancel()
    let_through.set()
    await asyncio.wait({later})
    assert (sent, forgotten) == ([event.id], [event.id])


async def test_no_more_than_so_many_events_are_sent_in_the_background(monkeypatch):
    monkeypatch.setattr(event_publisher, "_MOST_SENDING", 1)
    let_through = asyncio.Event()

    class Sink:
        async def send(self, event):
            await let_through.wait()

    class Outbox:
        async def sent(self, ids):
            """Forgets everything."""

    publisher = EventPublisher(Outbox(), Sink())
    event = internal_event(EventType.BATCH_CREATED, BatchId("a"))
    later = asyncio.create_task(publisher.forget_later())
    await asyncio.sleep(0)

    await publisher.publish_soon(event)
    waiting = asyncio.create_task(publisher.publish_soon(event))
    await asyncio.sleep(0)
    assert not waiting.done()
    let_through.set()
    await waiting
    later.cancel()
    await asyncio.wait({later})
