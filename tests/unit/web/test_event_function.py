import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent
from fixtures.functions import is_reason
from prometheus_client import generate_latest

from batch_gateway.core import events
from batch_gateway.core.errors import Busy, NotFound, Permanent, Temporary, Unavailable
from batch_gateway.core.events import EventType, internal_event, signature, upkeep_due
from batch_gateway.core.ids import BatchId
from batch_gateway.web.failure_reasons import MAX_BYTES, not_ready, reason_of
from batch_gateway.web.function import MAX_EVENT_BYTES, event_app

PATIENCE = timedelta(minutes=10)
KEY, OLD_KEY = b"new-secret", b"old-secret"
CREATED = internal_event(EventType.BATCH_CREATED, BatchId("batch_1"))
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Handler:
    """Records the events it is given and raises the error of a batch, if it has one."""

    def __init__(self) -> None:
        self.seen = []
        self.errors = {}

    async def __call__(self, event):
        self.seen.append(event)
        if error := self.errors.get(event.subject):
            raise error


@pytest.fixture
def handler():
    return Handler()


async def ready():
    """Nothing to wait for."""


def client(handler, *, keys=(), ready=ready):
    app = event_app("planner", handler, keys=keys, ready=ready, patience=PATIENCE)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://planner")


def cloud_event(event=CREATED, *, source=events.SOURCE, **extensions):
    attributes = {
        "id": event.id,
        "type": str(event.type),
        "source": source,
        "subject": event.subject,
        "datacontenttype": "application/json",
        **extensions,
    }
    return CloudEvent(attributes, dict(event.data))


def ago(**duration):
    return (datetime.now(UTC) - timedelta(**duration)).isoformat()


async def post(http, event, mode=to_binary):
    headers, body = mode(event)
    return await http.post("/", headers=headers, content=body)


@pytest.mark.parametrize("mode", [to_binary, to_structured])
async def test_an_event_is_handed_to_the_use_case_and_answered_202_without_a_body(handler, mode):
    async with client(handler) as http:
        answer = await post(http, cloud_event(), mode)

    assert (answer.status_code, answer.content) == (202, b"")
    assert handler.seen == [CREATED]


async def test_any_path_takes_events(handler):
    headers, body = to_binary(cloud_event())

    async with client(handler) as http:
        answer = await http.post("/some/where", headers=headers, content=body)

    assert answer.status_code == 202


async def test_a_batch_of_events_is_handled_whole(handler):
    second = internal_event(EventType.BATCH_CREATED, BatchId("batch_2"))
    raws = [json.loads(to_structured(cloud_event(event))[1]) for event in (CREATED, second)]

    async with client(handler) as http:
        answer = await http.post(
            "/",
            headers={"content-type": "application/cloudevents-batch+json; charset=utf-8"},
            content=json.dumps(raws),
        )

    assert (answer.status_code, answer.content) == (202, b"")
    assert handler.seen == [CREATED, second]


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([Permanent("no"), None], 400),
        ([Permanent("no"), Busy("later")], 409),
        ([Busy("later"), Temporary("later")], 503),
        ([Temporary("later"), KeyError("bug")], 500),
    ],
    ids=lambda value: str(value),
)
async def test_the_worst_outcome_of_a_batch_is_the_answer(handler, errors, status):
    batch = []
    for index, error in enumerate(errors):
        event = internal_event(EventType.BATCH_CREATED, BatchId(f"batch_{index}"))
        handler.errors[event.subject] = error
        batch.append(json.loads(to_structured(cloud_event(event))[1]))

    async with client(handler) as http:
        answer = await http.post(
            "/",
            headers={"content-type": "application/cloudevents-batch+json"},
            content=json.dumps(batch),
        )

    assert answer.status_code == status
    assert answer.text == "planner: " + reason_of([e for e in errors if e][-1])
    assert len(handler.seen) == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Permanent("for ever"), 400),
        (NotFound("gone"), 400),
        (Busy("somebody else"), 409),
        (Temporary("later"), 503),
        (Unavailable("the database"), 503),
        (ZeroDivisionError("a bug"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_the_error_decides_whether_a_broker_tries_again(handler, error, status):
    handler.errors["batch_1"] = error

    async with client(handler) as http:
        answer = await post(http, cloud_event())

    assert (answer.status_code, answer.text) == (status, f"planner: {reason_of(error)}")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Permanent("the batch\n has no\tinput"), "the batch has no input"),
        (
            Unavailable("postgresql://app:hunter2@db:5432/x: refused"),
            "postgresql://***@db:5432/x: refused",
        ),
        (KeyError("sk-secret"), "crashed: KeyError"),
        (Temporary(""), "Temporary"),
        (Permanent("ä" * 1000), "ä" * (MAX_BYTES // 2)),
        (Permanent("bell \x07 and \x1b[2J"), "bell  and [2J"),
    ],
    ids=["lines", "credentials", "not ours", "empty", "long", "control characters"],
)
def test_a_reason_is_one_short_line_without_secrets(error, reason):
    assert reason_of(error) == reason


def test_an_event_that_comes_too_early_is_told_why_without_secrets():
    answer = not_ready("planner", Unavailable("postgresql://app:hunter2@db/x: refused"))

    told = b"planner: postgresql://***@db/x: refused"
    assert (answer.status_code, answer.body) == (503, told)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({}, b"{"),
        ({}, b"[]"),
        ({"content-type": "application/cloudevents+json"}, b'{"specversion":"9000.1"}'),
        ({"content-type": "application/cloudevents+json"}, b'{"specversion":"1.0","id":"1"}'),
        ({"content-type": "application/cloudevents-batch+json"}, b"{}"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[1]"),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "unknown"}, b"{}"),
        (
            {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": CREATED.type},
            b"[1]",
        ),
        ({}, b"x" * (MAX_EVENT_BYTES + 1)),
    ],
    ids=range(10),
)
async def test_what_is_no_event_of_ours_is_refused_for_ever(handler, headers, body):
    async with client(handler) as http:
        answer = await http.post("/", headers=headers, content=body)

    assert (answer.status_code, handler.seen) == (400, [])
    assert is_reason(answer)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
async def test_only_post_is_allowed(handler, method):
    async with client(handler) as http:
        answer = await http.request(method, "/")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert method == "HEAD" or is_reason(answer)


@pytest.mark.parametrize("key", [KEY, OLD_KEY])
async def test_an_event_signed_with_any_of_the_keys_is_taken(handler, key):
    signed = cloud_event(gwsignature=signature(key, CREATED))

    async with client(handler, keys=(KEY, OLD_KEY)) as http:
        answer = await post(http, signed)

    assert (answer.status_code, handler.seen) == (202, [CREATED])


@pytest.mark.parametrize(
    "forged",
    [
        cloud_event(),
        cloud_event(gwsignature="00"),
        cloud_event(gwsignature="ä"),
        cloud_event(gwsignature=signature(b"other", CREATED), time=ago(days=1)),
        cloud_event(source="/elsewhere", gwsignature=signature(KEY, CREATED)),
        cloud_event(
            internal_event(EventType.BATCH_CREATED, BatchId("batch_2")),
            gwsignature=signature(KEY, CREATED),
            time=ago(days=1),
        ),
    ],
    ids=["unsigned", "short", "not ascii", "other key", "other source", "other event"],
)
async def test_a_forged_event_is_refused_for_ever(handler, forged):
    async with client(handler, keys=(KEY,)) as http:
        answer = await post(http, forged, to_structured)

    assert (answer.status_code, handler.seen) == (400, [])
    assert is_reason(answer)


OTHER = {"gwsignature": signature(b"other", CREATED)}


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        ({"time": {"minutes": 9}}, 503),
        ({"time": {"minutes": 11}}, 400),
        ({"time": {"minutes": -11}}, 400),
        ({"time": {"days": 1}, "knativearrivaltime": {"minutes": 1}}, 503),
        ({"time": {"minutes": 1}, "knativearrivaltime": {"days": 1}}, 400),
        ({"time": None}, 400),
    ],
    ids=["recent", "old", "of the future", "told late", "retried for long", "without a time"],
)
async def test_an_unknown_key_is_waited_for_while_it_may_be_rotated(handler, attributes, status):
    """``attributes`` are ages, from when the test runs; None: a text that is no time."""
    times = {name: "yesterday" if age is None else ago(**age) for name, age in attributes.items()}
    async with client(handler, keys=(KEY,)) as http:
        answer = await post(http, cloud_event(**OTHER, **times))

    assert (answer.status_code, handler.seen) == (status, [])
    assert is_reason(answer)


@pytest.mark.parametrize(("minutes", "status"), [(1, 202), (11, 400)])
async def test_a_recent_call_for_the_janitor_needs_no_known_key(handler, minutes, status):
    call = upkeep_due(b"random")
    signed = cloud_event(call, gwsignature=signature(b"other", call), time=ago(minutes=minutes))

    async with client(handler, keys=(KEY,)) as http:
        answer = await post(http, signed)

    assert answer.status_code == status


async def test_a_tick_needs_no_signature_and_may_carry_anything(handler):
    tick = CloudEvent(
        {"id": "1", "type": "dev.knative.sources.ping", "source": "/apis/v1/pingsources/x"}, [1]
    )

    async with client(handler, keys=(KEY,)) as http:
        answer = await post(http, tick)

    assert answer.status_code == 202
    assert [(event.type, event.data) for event in handler.seen] == [(EventType.PING, {})]


@pytest.mark.parametrize("mode", [to_binary, to_structured])
async def test_the_trace_of_the_cause_wins_over_that_of_the_hop(handler, mode):
    headers, body = mode(cloud_event(traceparent=TRACE, tracestate="cause=1"))
    headers |= {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-00", "tracestate": "hop=1"}

    async with client(handler) as http:
        await http.post("/", headers=headers, content=body)

    assert handler.seen[0].traceparent == f"{TRACE} cause=1"


async def test_the_trace_of_the_hop_is_taken_when_the_event_has_none(handler):
    headers, body = to_binary(cloud_event())

    async with client(handler) as http:
        await http.post("/", headers={**headers, "traceparent": TRACE}, content=body)

    assert handler.seen[0].traceparent == TRACE


async def test_a_crooked_trace_is_dropped(handler):
    async with client(handler) as http:
        await post(http, cloud_event(traceparent="00-zz"))

    assert handler.seen[0].traceparent is None


async def test_a_function_is_alive_though_a_dependency_is_away(handler):
    async def away():
        raise Unavailable("metadata: connection refused")

    async with client(handler, ready=away) as http:
        alive, is_ready = await http.get("/healthz"), await http.get("/readyz")

    assert alive.status_code == 200
    assert is_ready.status_code == 503
    assert is_ready.json()["reason"] == "metadata: connection refused"


async def test_a_function_is_ready_when_its_dependencies_are(handler):
    async with client(handler) as http:
        answer = await http.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_outcomes_are_counted_by_type(handler):
    handler.errors["batch_1"] = Busy("later")

    async with client(handler) as http:
        await post(http, cloud_event())

    assert (
        f'batch_gateway_events_total{{function="planner",outcome="busy",type="{CREATED.type}"}}'
        in generate_latest().decode()
    )
