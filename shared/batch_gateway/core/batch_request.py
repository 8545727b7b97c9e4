"""Events of other systems that request batches: their signature and the objects that they name.

Each source signs with a key of its own. Signed are id, source, type, subject, time and data; time
as whole seconds of UTC and data as compact JSON with sorted keys, because SDKs and brokers spell
both anew on the way. The bytes as they were sent are good too: then nothing has touched them.

Object stores cannot sign. Their events carry a token instead, and can only name objects.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

SIGNATURE, TOKEN = "gwsignature", "gwtoken"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalEvent:
    """A CloudEvent of another system."""

    attributes: Mapping[str, str]
    data: bytes

    @property
    def id(self) -> str:
        return self.attributes["id"]

    @property
    def source(self) -> str:
        return self.attributes["source"]

    @property
    def type(self) -> str:
        return self.attributes["type"]

    @property
    def time(self) -> datetime | None:
        """None when there is none, or it is no instant."""
        try:
            time = datetime.fromisoformat(self.attributes.get("time", ""))
            return None if time.tzinfo is None else time.astimezone(UTC)
        except (ValueError, OverflowError):  # beyond the year 1 or 9999 in UTC
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEvent:
    """The event that a batch was made for. A source gives an id to one event only."""

    source: str
    id: str

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps([self.source, self.id]).encode()).hexdigest()

    @property
    def seed(self) -> bytes:
        """What the ids of the batch that is made for it derive from."""
        return bytes.fromhex(self.key)[:16]

    def part(self, number: int) -> "SourceEvent":
        """Of an event that is the cause of several batches."""
        return self if number == 0 else SourceEvent(source=self.source, id=f"{self.id}#{number}")


def signature(key: bytes, event: ExternalEvent, data: bytes) -> str:
    """Hex HMAC-SHA256; each field is preceded by its length in bytes and a colon."""
    time = event.time
    stamp = "" if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")
    mac = hmac.new(key, digestmod=hashlib.sha256)
    subject = event.attributes.get("subject", "")
    for text in (event.id, event.source, event.type, subject, stamp):
        raw = text.encode()
        mac.update(b"%d:" % len(raw) + raw)
    mac.update(b"%d:" % len(data) + data)
    return mac.hexdigest()


def canonical(data: bytes) -> bytes | None:
    """``data`` as compact JSON with sorted keys; None when it is no JSON."""
    try:
        parsed = json.loads(data)
        text = json.dumps(parsed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode()
    except (ValueError, RecursionError):
        return None


def verified(keys: Sequence[bytes], event: ExternalEvent) -> bytes | None:
    """The data that one of ``keys`` has signed; None when none has."""
    signed = event.attributes.get(SIGNATURE, "")
    if not signed.isascii():
        return None
    for data in (event.data, canonical(event.data)):
        if data is None:
            continue
        if any(hmac.compare_digest(signature(key, event, data), signed) for key in keys):
            return data
    return None


def objects_of(data: Any) -> Iterator[str]:
    """The URIs of the created objects in a notification of an object store.

    Understood are S3's own notifications (``Records``; MinIO, Ceph, SeaweedFS and AWS send them),
    and what EventBridge makes of them (``detail``, alone or inside its envelope).
    """
    if not isinstance(data, dict):
        return
    if isinstance(records := data.get("Records"), list):
        for record in records:
            if isinstance(record, dict) and _created(record.get("eventName")):
                yield from _uri(record.get("s3"), encoded=True)
    elif isinstance(detail := data.get("detail"), dict):
        if data.get("detail-type") in (None, "Object Created"):
            yield from _uri(detail, encoded=False)
    elif _created(data.get("eventName", "ObjectCreated")):
        yield from _uri(data.get("s3", data), encoded="s3" in data)


def _created(name: Any) -> bool:
    return isinstance(name, str) and name.removeprefix("s3:").startswith("ObjectCreated")


def _uri(named: Any, *, encoded: bool) -> Iterator[str]:
    """Keys are percent-encoded in S3's notifications, and only there."""
    match named:
        case {"bucket": {"name": str(bucket)}, "object": {"key": str(key)}} if bucket and key:
            yield f"s3://{bucket}/{unquote_plus(key) if encoded else key}"
