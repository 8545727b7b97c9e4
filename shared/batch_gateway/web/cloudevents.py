"""Requests decoded into events, whichever way a broker chose to send them.

Binary mode has the attributes in ``ce-`` headers, structured mode the whole event as JSON, batched
mode an array of those (https://github.com/cloudevents/spec, HTTP binding 3). The framework's own
decoder knows no batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from cloudevents.http import CloudEvent, from_http, from_json

from batch_gateway.core import tracing
from batch_gateway.core.errors import Permanent
from batch_gateway.core.events import SOURCE, Event, EventType, signed_by
from batch_gateway.core.excerpts import excerpt

_BATCH = "application/cloudevents-batch+json"


class Undecodable(Permanent):
    """Not a CloudEvent, or none that we know."""


class Forged(Permanent):
    """An internal event that nobody with one of our keys has made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An event as it came in: what it says, and what vouches for it."""

    event: Event
    source: str
    signed: str  # "": unsigned


def decode(headers: Mapping[str, str], body: bytes) -> Sequence[Received]:
    """The events of one request. Raises Undecodable."""
    try:
        if headers.get("content-type", "").partition(";")[0].strip().lower() == _BATCH:
            raws = msgspec.json.decode(body, type=list[msgspec.Raw])
            return [_received(from_json(bytes(raw)), headers) for raw in raws]
        return [_received(from_http(headers, body), headers)]
    except Undecodable:
        raise
    except Exception as error:  # the SDK lets all kinds of errors of bad input through
        raise Undecodable(f"not a CloudEvent: {excerpt(error)}") from error


def _received(cloud_event: CloudEvent, headers: Mapping[str, str]) -> Received:
    try:
        type_ = EventType(cloud_event["type"])
    except ValueError:
        raise Undecodable(f"unknown event type {excerpt(cloud_event['type'])!r}") from None
    # The event's own trace context is its cause's; the header only tells of the last hop.
    trace = cloud_event.get("traceparent") or headers.get("traceparent")
    event = Event(
        id=cloud_event["id"],
        type=type_,
        subject=cloud_event.get("subject") or "",
        data={} if type_ is EventType.PING else _data(cloud_event),
        traceparent=tracing.valid(trace),
    )
    return Received(
        event=event, source=cloud_event["source"], signed=cloud_event.get("gwsignature") or ""
    )


def _data(cloud_event: CloudEvent) -> dict[str, Any]:
    data = cloud_event.get_data()
    if data is None:
        return {}
    if isinstance(data, dict):
        return data
    raise Undecodable("event data is not a JSON object")


def verify(received: Received, keys: Sequence[bytes]) -> None:
    """Raise Forged unless one of ``keys`` signed the event; without keys everything passes.

    The platform's ticks cannot be signed; all they can do is ask for a sweep, which is harmless.
    """
    event = received.event
    if not keys or event.type is EventType.PING:
        return
    genuine = received.signed.isascii() and signed_by(keys, event, received.signed)
    if received.source != SOURCE or not genuine:
        raise Forged(
            f"event {excerpt(event.id)!r} of {excerpt(received.source)!r} is not signed by us"
        )
