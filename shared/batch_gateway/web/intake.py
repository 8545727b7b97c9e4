"""The HTTP application of intake: authenticates events and parses their requests.

An event without a signature or token that is known here is refused (400: brokers do not deliver it
again, but put it among the dead). While it is recent the key may be on its way to this process, so
it is answered 503 and delivered again. An event of a known source is handled (202), also when no
batch comes of it: then the source is told so. Object stores may also post their own notifications,
which are no CloudEvents, with their token as a bearer's.
"""

import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import msgspec
from pydantic import SecretStr
from starlette.types import ASGIApp

from batch_gateway.core import tracing
from batch_gateway.core.batch_request import (
    SIGNATURE,
    TOKEN,
    ExternalEvent,
    SourceEvent,
    objects_of,
    verified,
)
from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.events import EventType
from batch_gateway.core.excerpts import excerpt
from batch_gateway.core.ids import FileId, TenantId
from batch_gateway.ports.clock import Clock
from batch_gateway.services.batches.service import NewBatch
from batch_gateway.services.intake import Intake, IntakeRequest
from batch_gateway.settings.intake import DropFolderSettings, EventSourceSettings
from batch_gateway.web.batch_request import asked
from batch_gateway.web.cloudevents import decode
from batch_gateway.web.function import EventTask, event_handling_app, external_event_handling
from batch_gateway.web.internal_events import is_signature, not_verified, sent_at
from batch_gateway.web.openai import MADE_INPUT
from batch_gateway.web.probes import Ready

logger = logging.getLogger(__name__)

_AHEAD = timedelta(minutes=5)  # how far a sender's clock may be before ours
_NOTICE = "s3.notification"  # the type of what is no CloudEvent


def intake_app(
    intake: Intake,
    *,
    sources: Mapping[str, EventSourceSettings],
    remember: timedelta,
    clock: Clock,
    ready: Ready,
    patience: timedelta = timedelta(),
) -> ASGIApp:
    """``patience``: how long after it was sent an event with an unknown key is delivered again."""
    door = _IntakeHandler(intake, sources, remember, clock, patience)

    return event_handling_app("intake", door.hear, ready=ready)


class _IntakeHandler:
    def __init__(
        self,
        intake: Intake,
        sources: Mapping[str, EventSourceSettings],
        remember: timedelta,
        clock: Clock,
        patience: timedelta,
    ) -> None:
        self._intake = intake
        self._sources = sources
        self._remember = remember
        self._clock = clock
        self._patience = patience

    def hear(self, headers: Mapping[str, str], content: bytes) -> Sequence[EventTask]:
        """What is to be done about a request. Raises Undecodable."""
        notice = self._notice(headers, content)
        events = decode(headers, content) if notice is None else [notice]
        return [external_event_handling(event, self._handle) for event in events]

    async def _handle(self, event: ExternalEvent) -> None:
        given = event.attributes
        traceparent = tracing.valid(given.get("traceparent"), given.get("tracestate"))
        source, event = self._known(event)
        tenant = TenantId(source.tenant)
        cause = SourceEvent(source=event.source, id=event.id)
        try:
            self._check_age(event)
            wanted = self._wanted(source, event)
        except InvalidRequest as refusal:
            await self._intake.reject(tenant, cause, refusal, traceparent=traceparent)
            return
        for number, one in enumerate(wanted):
            await self._intake.take(tenant, cause.part(number), one, traceparent=traceparent)

    def _known(self, event: ExternalEvent) -> tuple[EventSourceSettings, ExternalEvent]:
        """Who sent it, and the event with the data that it vouches for.

        Raises Forged, and UnknownKey while the key may be on its way to this process.
        """
        source = self._sources.get(event.source)
        given = event.attributes.get(TOKEN, "")
        if source is not None:
            keys = [key.get_secret_value().encode() for key in source.keys]
            if (data := verified(keys, event)) is not None:
                return source, replace(event, data=data)
            if event.type != EventType.BATCH_REQUESTED and _is(source.token, given):
                return source, event
        signed = event.attributes.get(SIGNATURE, "")
        raise not_verified(
            f"event {excerpt(event.id)!r} of {excerpt(event.source)!r}",
            signed=is_signature(signed) or bool(given and event.type != EventType.BATCH_REQUESTED),
            sent_at=sent_at(event.attributes.get("knativearrivaltime"), event.time),
            now=self._clock.now(),
            patience=self._patience,
        )

    def _check_age(self, event: ExternalEvent) -> None:
        """Raise InvalidRequest for an event whose id may have been forgotten."""
        time, now = event.time, self._clock.now()
        if time is None:
            raise _refused("time", "an event needs the time when it happened")
        if time < now - self._remember:
            raise _refused("time", "the event is too old")
        if time > now + _AHEAD:
            raise _refused("time", "the event is from the future")

    def _wanted(self, source: EventSourceSettings, event: ExternalEvent) -> list[IntakeRequest]:
        """The batches that an event requests. Raises InvalidRequest."""
        if event.type == EventType.BATCH_REQUESTED:
            wanted = asked(event.data)
            if wanted.object is not None and not _inside(wanted.object, source.folders):
                raise _refused(
                    "object", f"{excerpt(wanted.object)} is in no folder that is allowed to you"
                )
            return [wanted]
        try:
            named = list(objects_of(msgspec.json.decode(event.data)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _refused("data", "it is not JSON") from None
        return [
            _dropped(drop, uri)
            for uri in named
            for drop in source.drops
            if uri.endswith(".jsonl") and _inside(uri, [drop.folder])
        ]

    def _notice(self, headers: Mapping[str, str], content: bytes) -> ExternalEvent | None:
        """An object store's notification as an event; None: it is none, or has no known token."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if "ce-id" in headers or scheme.lower() != "bearer":
            return None
        for name, source in self._sources.items():
            if _is(source.token, token.strip()):
                return _as_event(name, token.strip(), content)
        return None


def _as_event(source: str, token: str, content: bytes) -> ExternalEvent | None:
    """Its id is that of the objects' versions: a repeated notification gets the same id."""
    try:
        records = msgspec.json.decode(content)["Records"]
        time = records[0]["eventTime"]
        versions = [
            [record["s3"]["bucket"]["name"], *map(record["s3"]["object"].get, _VERSION)]
            for record in records
        ]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # msgspec's and Unicode's errors are ValueErrors
    attributes = {
        "id": msgspec.json.encode(versions).decode(),
        "source": source,
        "type": _NOTICE,
        "time": str(time),
        TOKEN: token,
    }
    return ExternalEvent(attributes=attributes, data=content)


_VERSION = ("key", "versionId", "sequencer", "eTag")


def _dropped(drop: DropFolderSettings, uri: str) -> IntakeRequest:
    new = NewBatch(
        input_file_id=FileId(MADE_INPUT),
        endpoint=drop.endpoint,
        completion_window=drop.completion_window,
        priority=drop.priority,
    )
    return IntakeRequest(new=new, object=uri)


def _inside(uri: str, folders: Sequence[str]) -> bool:
    """Whether ``uri`` is in one of ``folders``, whatever its path says on the way."""
    plain = not {"", ".", ".."} & set(uri.partition("://")[2].split("/")[1:])
    return plain and any(uri.startswith(folder) for folder in folders)


def _is(secret: SecretStr | None, given: str) -> bool:
    if secret is None or not given:
        return False
    return hmac.compare_digest(secret.get_secret_value().encode(), given.encode())


def _refused(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {why}.", param=param, code="invalid_value")
