"""The broker's dead letter sink: accepts events of any type."""

from collections.abc import Mapping, Sequence

from starlette.types import ASGIApp

from batch_gateway.services.dead_letters import DeadLetterService
from batch_gateway.web.cloudevents import decode
from batch_gateway.web.function import EventTask, event_handling_app, external_event_handling
from batch_gateway.web.probes import Ready


def deadletter_app(letters: DeadLetterService, *, ready: Ready) -> ASGIApp:
    def hear(headers: Mapping[str, str], content: bytes) -> Sequence[EventTask]:
        return [external_event_handling(event, letters.bury) for event in decode(headers, content)]

    return event_handling_app("deadletter", hear, ready=ready)
