"""CloudEvents of any type, in every mode of the HTTP binding, with their data untouched.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

import base64
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import msgspec

from batch_gateway.core.batch_request import ExternalEvent
from batch_gateway.core.errors import Permanent
from batch_gateway.core.excerpts import excerpt

_BATCHED = "application/cloudevents-batch+json"
_STRUCTURED = "application/cloudevents+json"
_NAME = re.compile(r"[a-z0-9]+", re.ASCII)
_REQUIRED = ("id", "source", "type")
_LONGEST = 4096  # characters of an attribute

_decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_event = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class UndecodableEvent(Permanent):
    """The request is not a CloudEvent, or its type is unknown."""


def decode(headers: Mapping[str, str], body: bytes) -> Sequence[ExternalEvent]:
    """The events of one request. Raises UndecodableEvent."""
    media_type = _media_type(headers.get("content-type", ""))
    try:
        if media_type == _BATCHED:
            return [_structured(bytes(raw)) for raw in _decode_batch(body)]
        if media_type == _STRUCTURED:
            return [_structured(body)]
        return [_binary(headers, body)]
    except (
        ValueError,
        RecursionError,
    ) as error:  # msgspec's, base64's and Unicode's are ValueErrors
        raise UndecodableEvent(f"not a CloudEvent: {excerpt(error)}") from error


def _binary(headers: Mapping[str, str], body: bytes) -> ExternalEvent:
    found = {
        name[3:]: _header_text(value) for name, value in headers.items() if name.startswith("ce-")
    }
    if content_type := headers.get("content-type"):
        found["datacontenttype"] = content_type
    return _checked(found, body)


def _header_text(value: str) -> str:
    """What a header says whose bytes stand in ``value`` as Latin-1.

    Characters beyond ASCII should be percent-encoded. Senders who do not know that (JavaScript's
    SDK) send UTF-8 or Latin-1; Node sends either, depending on what is written with the headers.
    """
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode()
    return unquote(value, errors="strict")


def _structured(raw: bytes) -> ExternalEvent:
    fields = _decode_event(raw)
    data, encoded = fields.pop("data", None), fields.pop("data_base64", None)
    found = {
        name: _text(name, msgspec.json.decode(value))
        for name, value in fields.items()
        if bytes(value) != b"null"
    }
    if encoded is not None:
        text = msgspec.json.decode(encoded, type=str)
        return _checked(found, base64.b64decode(text, validate=True))
    if data is None:
        return _checked(found, b"")
    content = bytes(data).strip()
    if content.startswith(b'"') and not _is_json(found.get("datacontenttype")):
        content = msgspec.json.decode(content, type=str).encode()
    return _checked(found, content)


def _checked(found: dict[str, str], data: bytes) -> ExternalEvent:
    version = found.pop("specversion", None)
    if version != "1.0":
        raise UndecodableEvent(f"specversion is {excerpt(version)!r}, not 1.0")
    for name in _REQUIRED:
        if not found.get(name):
            raise UndecodableEvent(f"the attribute {name!r} is missing or empty")
    for name, value in found.items():
        if not _NAME.fullmatch(name) or len(value) > _LONGEST or "\x00" in value:
            raise UndecodableEvent(f"the attribute {name[:40]!r} is not valid")
    return ExternalEvent(attributes=found, data=data)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise UndecodableEvent(f"the attribute {name[:40]!r} is not text")


def _is_json(content_type: str | None) -> bool:
    return content_type is None or _media_type(content_type).endswith(("/json", "+json"))


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
