"""Parses the gateway's own events from the broker: type, data and signature."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from batch_gateway.core import tracing
from batch_gateway.core.batch_request import ExternalEvent
from batch_gateway.core.errors import Permanent, Temporary
from batch_gateway.core.events import SOURCE, Event, EventType, signed_by
from batch_gateway.core.excerpts import excerpt
from batch_gateway.web import cloudevents
from batch_gateway.web.cloudevents import UndecodableEvent

_SIGNATURE = re.compile("[0-9a-f]{64}")


class ForgedEvent(Permanent):
    """An event that is not signed, or that was sent long ago and is signed with an unknown key."""


class UnknownSigningKey(Temporary):
    """A recent event that is signed with a key that this process does not know (yet, or any more).

    While keys are rotated two processes may know different ones. The event is delivered again, to a
    process that may know the key.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """A received event: its content and its authentication."""

    event: Event
    source: str
    signed: str  # "": unsigned
    sent_at: datetime | None  # when the broker accepted it, or it was sent; None: unknown


def decode(headers: Mapping[str, str], body: bytes) -> Sequence[ReceivedEvent]:
    """The events of one request. Raises UndecodableEvent."""
    return [_received(event, headers) for event in cloudevents.decode(headers, body)]


def _received(external: ExternalEvent, headers: Mapping[str, str]) -> ReceivedEvent:
    attributes = external.attributes
    try:
        type_ = EventType(external.type)
    except ValueError:
        raise UndecodableEvent(f"unknown event type {excerpt(external.type)!r}") from None
    # The event's own trace context is its cause's; the header has only the last hop.
    told = attributes if attributes.get("traceparent") else headers
    event = Event(
        id=external.id,
        type=type_,
        subject=attributes.get("subject", ""),
        data={} if type_ is EventType.PING else _data(external.data),
        traceparent=tracing.valid(told.get("traceparent"), told.get("tracestate")),
    )
    return ReceivedEvent(
        event=event,
        source=external.source,
        signed=attributes.get("gwsignature", ""),
        sent_at=sent_at(attributes.get("knativearrivaltime"), attributes.get("time")),
    )


def _data(content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content or b"null")
    except (ValueError, RecursionError) as error:
        raise UndecodableEvent(f"event data is not JSON: {excerpt(error)}") from error
    if data is None:
        return {}
    if isinstance(data, dict):
        return data
    raise UndecodableEvent("event data is not a JSON object")


def verify(
    received: ReceivedEvent, keys: Sequence[bytes], now: datetime, patience: timedelta
) -> None:
    """Return if one of ``keys`` signed the event; without keys everything passes.

    Raises UnknownSigningKey for an unknown signature of an event that was sent within ``patience``,
    ForgedEvent otherwise. A recent call for the janitor needs no known key. The platform's ticks
    cannot be signed. All that both can do is ask for a sweep, which is harmless.
    """
    event = received.event
    if not keys or event.type is EventType.PING:
        return
    ours = received.source == SOURCE and is_signature(received.signed)
    if ours and signed_by(keys, event, received.signed):
        return
    refusal = not_verified(
        f"event {excerpt(event.id)!r} of {excerpt(received.source)!r}",
        signed=ours,
        sent_at=received.sent_at,
        now=now,
        patience=patience,
    )
    if event.type is EventType.UPKEEP_DUE and isinstance(refusal, UnknownSigningKey):
        return  # triggers a sweep, as a tick does; else a key rotation could block all triggers
    raise refusal


def not_verified(
    event: str, *, signed: bool, sent_at: datetime | None, now: datetime, patience: timedelta
) -> ForgedEvent | UnknownSigningKey:
    """What to raise for an ``event`` that no known key vouches for.

    ``signed``: whether it carries what could be made with a key that is being rotated.
    """
    if not signed:
        return ForgedEvent(f"{event} is not signed")
    if sent_at is None or abs(now - sent_at) > patience:
        return ForgedEvent(f"{event} is signed with an unknown key")
    return UnknownSigningKey(
        f"{event} is signed with a key that is unknown here; is it being rotated?"
    )


def is_signature(signed: str) -> bool:
    """Whether ``signed`` is the hexadecimal form of a SHA-256, valid or not."""
    return _SIGNATURE.fullmatch(signed) is not None


def sent_at(*times: object) -> datetime | None:
    """The first of ``times`` that is a timestamp of RFC 3339; None: none is."""
    for time in times:
        if isinstance(time, datetime):
            moment = time
        else:
            try:
                moment = datetime.fromisoformat(str(time))
            except ValueError:
                continue
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return None
