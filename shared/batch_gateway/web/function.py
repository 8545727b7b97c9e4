"""HTTP applications of event functions: a CloudEvent runs a use case, its outcome sets the status.

The status is the retry policy. Brokers deliver again on 5xx, 404, 408, 409 and 429, so a fault
that would come back for ever is always 400. The body of a 2xx answer is empty: brokers take any
other for a reply event and count it as a failed delivery when it is none. Any other answer says why
in one line (``web.failure_reasons``), which brokers keep with the dead letter.

To functions-framework a function is a plain HTTP function that returns an ASGI application. What
that application needs (connections, clients) is opened once per process: in the server's lifespan
under ``web.serve``, by the first request under the stock command, which has no lifespan.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from batch_gateway import log
from batch_gateway.core import tracing
from batch_gateway.core.batch_request import ExternalEvent
from batch_gateway.core.errors import Busy, Permanent, Temporary
from batch_gateway.core.events import Event, EventType
from batch_gateway.web import body, metrics
from batch_gateway.web.cloudevents import UndecodableEvent
from batch_gateway.web.failure_reasons import answer, reason_of
from batch_gateway.web.internal_events import ReceivedEvent, decode, verify
from batch_gateway.web.probes import Ready, with_probes

logger = logging.getLogger(__name__)

#: Our events are a few hundred bytes; brokers take 64 KiB at least, some a megabyte.
MAX_EVENT_BYTES = 1024 * 1024

Handle = Callable[[Event], Awaitable[None]]
Build = Callable[[], AbstractAsyncContextManager[ASGIApp]]

_TYPES = frozenset(map(str, EventType))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTask:
    """One event of a request, and what is to be done about it."""

    id: str
    type: str  # one of a few: it becomes a label of metrics
    batch: str | None  # None: it names none
    traceparent: str | None
    handle: Callable[[], Awaitable[None]]  # may be called many times


#: Headers and body of a request -> its events. Raises UndecodableEvent.
Decode = Callable[[Mapping[str, str], bytes], Sequence[EventTask]]

#: status -> (what it is called in metrics, how bad it is: the worst event of a batch decides).
_OUTCOMES = {202: "done", 400: "refused", 409: "busy", 503: "unavailable", 500: "crashed"}
_BADNESS = list(_OUTCOMES)


def event_app(
    name: str,
    handle: Handle,
    *,
    keys: Sequence[bytes],
    ready: Ready,
    patience: timedelta = timedelta(),
) -> ASGIApp:
    """The application of one event function, with its probes.

    ``keys`` are the secrets that internal events may be signed with; empty: signatures are not
    looked at. An event with an unknown signature is delivered again for as long as ``patience``
    after it was sent. ``handle`` is one use case; it may be called with the same event many times.
    """

    async def verified(received: ReceivedEvent) -> None:
        verify(received, keys, datetime.now(UTC), patience)
        await handle(received.event)

    def hear(headers: Mapping[str, str], content: bytes) -> Sequence[EventTask]:
        return [
            EventTask(
                id=received.event.id,
                type=str(received.event.type),
                batch=received.event.data.get("batch_id"),
                traceparent=received.event.traceparent,
                handle=partial(verified, received),
            )
            for received in decode(headers, content)
        ]

    return event_handling_app(name, hear, ready=ready)


def event_handling_app(name: str, hear: Decode, *, ready: Ready) -> ASGIApp:
    """An application that handles each request as ``hear`` decodes it, with probes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            response = answer(405, "events are sent by POST")
            response.headers["Allow"] = "POST"
        else:
            response = answer(*await _outcome_of(name, hear, Headers(scope=scope), receive))
        await response(scope, receive, send)

    return with_probes(app, ready)


def external_event_handling(
    event: ExternalEvent, handle: Callable[[ExternalEvent], Awaitable[None]]
) -> EventTask:
    """How to handle an event with untrusted attributes."""
    known = event.type in _TYPES
    return EventTask(
        id=event.id,
        type=event.type if known else "other",
        batch=None,
        traceparent=event.attributes.get("traceparent"),
        handle=partial(handle, event),
    )


async def _outcome_of(
    name: str, hear: Decode, headers: Headers, receive: Receive
) -> tuple[int, str]:
    """Handle the events of one request; the worst outcome is the answer: its status and reason.

    The events of a batch run side by side, because each may take as long as a request may.
    """
    try:
        heard = hear(headers, await body.read(receive, MAX_EVENT_BYTES))
    except body.ClientDisconnected:
        return 400, "the request was not sent to its end"  # the broker delivers again
    except body.BodyTimeout:
        return 408, "the request was sent too slowly"
    except (UndecodableEvent, body.BodyTooLarge) as error:
        metrics.EVENTS.labels(name, "unknown", "refused").inc()
        reason = str(error) or f"larger than {MAX_EVENT_BYTES} bytes"
        logger.warning("Refused a request: %s", reason, extra={"action": "refuse"})
        return 400, reason
    outcomes = await asyncio.gather(*(_handled(name, handling) for handling in heard))
    return max(outcomes, key=lambda outcome: _BADNESS.index(outcome[0]), default=(202, ""))


async def _handled(name: str, handling: EventTask) -> tuple[int, str]:
    """Run the use case for one event and count how it went: status and reason. Never raises."""
    started = time.perf_counter()
    with log.bound(
        event_id=handling.id,
        event_type=handling.type,
        batch_id=handling.batch,
        trace_id=tracing.trace_id(tracing.valid(handling.traceparent)),
    ):
        status, reason = await _outcome(handling.handle)
    metrics.EVENTS.labels(name, handling.type, _OUTCOMES[status]).inc()
    metrics.EVENT_SECONDS.labels(name, handling.type).observe(time.perf_counter() - started)
    return status, f"{name}: {reason}"


async def _outcome(handle: Callable[[], Awaitable[None]]) -> tuple[int, str]:
    try:
        await handle()
    except Permanent as error:
        logger.error("Permanent error: %s", error, extra={"action": "refuse"})
        return 400, reason_of(error)
    except Busy as error:
        logger.info("Another process is working on it: %s", error, extra={"action": "busy"})
        return 409, reason_of(error)
    except Temporary as error:
        logger.warning("The event will be redelivered: %s", error, extra={"action": "retry"})
        return 503, reason_of(error)
    except Exception as error:
        logger.exception(
            "Event handling failed with an unexpected error", extra={"action": "crash"}
        )
        return 500, reason_of(error)
    return 202, ""


class HostedFunction:
    """A function's application, and how long its resources live."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._app: ASGIApp | None = None
        self._opening = asyncio.Lock()
        self._resources = AsyncExitStack()

    @asynccontextmanager
    async def lifespan(self, _server: object) -> AsyncIterator[None]:
        """Build the application when the server starts, take it down when it stops."""
        async with self._build() as app:
            self._app = app
            try:
                yield
            finally:
                self._app = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application itself, for a server that keeps the lifespan."""
        app = await self.app()
        await _bare(app)(scope, receive, send)

    async def app(self) -> ASGIApp:
        """The application; built now if no lifespan has done it.

        Its resources then live as long as the process: the stock command gives no signal when it
        ends.
        """
        if self._app is None:
            async with self._opening:
                if self._app is None:
                    self._app = await self._resources.enter_async_context(self._build())
        return self._app


#: Functions of this process by name; ``web.serve`` finds here what it has loaded.
hosted: dict[str, HostedFunction] = {}


def http_function(name: str, build: Build) -> Callable[[Request], Awaitable[ASGIApp]]:
    """A function as functions-framework takes it, which ``web.serve`` finds under ``name``.

    ``build`` opens whatever the function needs and yields its application.
    """
    host = hosted[name] = HostedFunction(build)

    async def function(_request: Request) -> ASGIApp:
        return _bare(await host.app())

    function.__name__ = function.__qualname__ = name  # the framework registers it by this
    return function


def _bare(app: ASGIApp) -> ASGIApp:
    """``app`` without a trace of the server's own router, whose routes are not its own."""

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        outer = ("app", "router", "route", "endpoint", "path_params")
        await app({key: scope[key] for key in scope if key not in outer}, receive, send)

    return inner
