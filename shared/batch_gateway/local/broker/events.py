"""CloudEvents in the broker: attributes as text, data as the received bytes.

Decoding is the SDK's, with data left alone: a broker must not change what it passes on. In binary
mode attributes travel percent-encoded (CloudEvents HTTP binding, 3.1.3.2).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from cloudevents.http import CloudEvent, from_http

_BATCHED = "application/cloudevents-batch+json"
_STRUCTURED = "application/cloudevents+json"
_JSON = "application/json"
_NAME = re.compile(r"[a-z0-9]+")
_REQUIRED = ("id", "source", "specversion", "type")
#: Printable ASCII except space, quote and percent may stand as it is.
_PLAIN = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")


class MalformedEvent(Exception):
    """Not a valid CloudEvent; the message contains the reason."""


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    attributes: dict[str, str]
    data: bytes
    hold_s: float = 0.0  # a fault: how much later it is delivered

    def __str__(self) -> str:
        return f"{self.attributes['type']} {self.attributes['id']}"

    def with_attributes(self, **changed: str) -> "StoredEvent":
        return msgspec.structs.replace(self, attributes=self.attributes | changed)

    def without(self, name: str) -> "StoredEvent":
        kept = {key: value for key, value in self.attributes.items() if key != name}
        return msgspec.structs.replace(self, attributes=kept)


def decode(headers: Mapping[str, str], body: bytes) -> Sequence[StoredEvent]:
    """The events of one request, whichever mode it uses. Raises Malformed."""
    lowered = {name.lower(): value for name, value in headers.items()}
    media_type = lowered.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == _BATCHED:
        return [_structured(bytes(raw)) for raw in _batch(body)]
    if media_type == _STRUCTURED:
        return [_structured(body)]
    if "ce-specversion" in lowered:
        return [_binary(lowered, body)]
    raise MalformedEvent("neither ce- headers nor a CloudEvents media type")


def encode(event: StoredEvent) -> tuple[dict[str, str], bytes]:
    """Headers and body of a request in binary mode."""
    headers = {
        f"ce-{name}": quote(value, safe=_PLAIN)
        for name, value in event.attributes.items()
        if name != "datacontenttype"
    }
    if content_type := event.attributes.get("datacontenttype"):
        headers["Content-Type"] = content_type
    return headers, event.data


def _batch(body: bytes) -> list[msgspec.Raw]:
    try:
        return msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedEvent(f"a batch is a JSON array of events: {error}") from error


def _binary(headers: Mapping[str, str], body: bytes) -> StoredEvent:
    decoded = {
        name: unquote(value) if name.startswith("ce-") else value for name, value in headers.items()
    }
    return _stored(_parse(decoded, body), body)


def _structured(body: bytes) -> StoredEvent:
    event = _parse({"content-type": _STRUCTURED}, body)
    data = event.get_data()
    if isinstance(data, bytes) or data is None:  # data_base64, or none at all
        return _stored(event, data or b"")
    content_type = event.get("datacontenttype")
    if content_type is None:
        event["datacontenttype"] = _JSON
    elif not _is_json(content_type) and data.startswith('"'):
        return _stored(event, msgspec.json.decode(data, type=str).encode())
    return _stored(event, data.encode())


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower().endswith(("/json", "+json"))


def _parse(headers: dict[str, str], body: bytes) -> CloudEvent:
    try:
        return from_http(headers, body, data_unmarshaller=lambda data: data)
    except Exception as error:  # the SDK lets all kinds of errors of bad input through
        raise MalformedEvent(f"not a CloudEvent: {error}") from error


def _stored(event: CloudEvent, data: bytes) -> StoredEvent:
    given = {name: event[name] for name in event}
    attributes = {name: _text(value) for name, value in given.items() if value is not None}
    for name in _REQUIRED:
        if not attributes.get(name):
            raise MalformedEvent(f"the attribute {name!r} is missing or empty")
    for name in attributes:
        if not _NAME.fullmatch(name):
            raise MalformedEvent(f"{name!r} is no attribute name")
    return StoredEvent(attributes=attributes, data=data)


def _text(value: Any) -> str:
    """The canonical text of an attribute (CloudEvents, type system)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise MalformedEvent(f"an attribute is text, a whole number or a truth value, not {value!r}")
