"""Dead letters: events that brokers could not deliver, as they arrive at a dead letter sink."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from batch_gateway.core.batch_request import ExternalEvent

#: Attributes that brokers add on the way; an event that is sent again starts without them.
_ADDED = frozenset(
    {
        "knativeerrordest",
        "knativeerrorcode",
        "knativeerrordata",
        "knativebrokerttl",
        "knativearrivaltime",
    }
)
_SHOWN = 1000  # characters of a broker's error text


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One event that could not be delivered to one subscriber."""

    id: str
    attributes: Mapping[str, str]  # as the event was first sent
    data: bytes
    target: str  # URL of the subscriber; "": unknown
    code: str  # HTTP status of the last response, as text; "": unknown
    reason: str  # the last answer's body; "": unknown
    died_at: datetime  # the last time

    @property
    def event(self) -> ExternalEvent:
        return ExternalEvent(attributes=self.attributes, data=self.data)


def dead_letter(event: ExternalEvent, now: datetime) -> DeadLetter:
    """The same for the same event and subscriber, however often delivery fails."""
    told = event.attributes
    target = told.get("knativeerrordest", "")
    name = json.dumps([event.source, event.id, event.type, target]).encode()
    return DeadLetter(
        id=f"dead_{hashlib.sha256(name).hexdigest()[:24]}",
        attributes={key: value for key, value in told.items() if key not in _ADDED},
        data=event.data,
        target=target[:_SHOWN],
        code=told.get("knativeerrorcode", "")[:_SHOWN],
        reason=readable(told.get("knativeerrordata", ""))[:_SHOWN],
        died_at=now,
    )


def readable(error_data: str) -> str:
    """``knativeerrordata`` as text: Knative's brokers send the body as base64, others as it is.

    The base64 is cut at 1,024 bytes, which may cut a character in two. What is no base64 of text is
    returned as it is.
    """
    try:
        decoded = base64.b64decode(error_data, validate=True)
        text = decoded.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return error_data
        text = decoded[: error.start].decode()
    except (binascii.Error, ValueError):
        return error_data
    spaced = " ".join(text.split())
    return spaced if spaced.isprintable() else error_data
