"""The broker's dead letter sink: takes events of any type."""

from collections.abc import Mapping, Sequence

from starlette.types import ASGIApp

from batch_gateway.services.dead_letters import DeadLetters
from batch_gateway.web.foreign import decode
from batch_gateway.web.function import Hearing, foreign_hearing, hearing_app
from batch_gateway.web.probes import Ready


def deadletter_app(letters: DeadLetters, *, ready: Ready) -> ASGIApp:
    def hear(headers: Mapping[str, str], content: bytes) -> Sequence[Hearing]:
        return [foreign_hearing(event, letters.bury) for event in decode(headers, content)]

    return hearing_app("deadletter", hear, ready=ready)
