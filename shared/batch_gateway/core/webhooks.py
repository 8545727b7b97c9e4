"""Webhooks: the endpoints that receive the end of batches, the payload and its signature.

Payloads are OpenAI's, signatures those of Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md). A
payload holds ids only and can be made again at any time, so no row stores one.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

import msgspec

from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.lifecycle import ENDED
from batch_gateway.core.model import Batch

EndpointId = NewType("EndpointId", str)  # we_...
DeliveryId = NewType("DeliveryId", str)  # whd_...

#: What an endpoint can subscribe to: the ends of batches, spelled as on OpenAI's wire.
EVENT_TYPES = tuple(f"batch.{status}" for status in sorted(ENDED))

#: How long the secret before a rotation stays valid if the request sets it.
OVERLAP = timedelta(hours=24)

SECRET_BYTES = 32


class DeliveryState(StrEnum):
    PENDING = "pending"  # to be tried, perhaps again
    DELIVERED = "delivered"  # the receiver has acknowledged it
    FAILED = "failed"  # given up


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """A URL that receives the events of a tenant's batches."""

    id: EndpointId
    tenant: TenantId
    name: str
    url: str
    event_types: tuple[str, ...]
    secret: str  # sealed; see ``ports.secrets``
    hint: str  # what may be shown of the secret
    created_at: datetime
    updated_at: datetime  # of its configuration or secret; never the same twice
    old_secret: str | None = None  # sealed; None: there is none that still signs
    old_secret_until: datetime | None = None
    failing_since: datetime | None = None  # None: the last attempt succeeded
    disabled_at: datetime | None = None  # None: it is enabled


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDelivery:
    """The delivery of one event to one endpoint, and its attempts so far."""

    id: DeliveryId
    tenant: TenantId
    endpoint: EndpointId
    event_type: str
    batch: BatchId
    happened_at: datetime
    created_at: datetime
    state: DeliveryState = DeliveryState.PENDING
    due_at: datetime | None = None  # of the next attempt; None: there is none
    attempts: int = 0
    attempted_at: datetime | None = None
    status_code: int | None = None  # of the last answer; None: there was none
    error: str | None = None  # why the last attempt failed

    @property
    def event_id(self) -> str:
        return event_id(self.batch, self.event_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryBackoff:
    """How often a delivery is tried, and for how long."""

    first: timedelta
    longest: timedelta
    give_up: timedelta  # after the first attempt was due

    def next_attempt(self, delivery: WebhookDelivery, now: datetime) -> datetime | None:
        """When to try again after ``delivery.attempts`` attempts; None: no more."""
        pause = min(self.first * 2 ** min(delivery.attempts - 1, 32), self.longest)
        again = now + pause
        return again if again < delivery.created_at + self.give_up else None


def endpoint_id(random: bytes) -> EndpointId:
    """``we_`` and 32 hex digits, from 16 random bytes."""
    return EndpointId(f"we_{random[:16].hex()}")


def signing_secret(random: bytes) -> str:
    """From ``SECRET_BYTES`` random bytes."""
    return "whsec_" + base64.b64encode(random[:SECRET_BYTES]).decode()


def hint_of(secret: str) -> str:
    return f"whsec_...{secret.rstrip('=')[-4:]}"


def event_id(batch: BatchId, event_type: str) -> str:
    """The same for all endpoints and attempts: receivers deduplicate by it."""
    return f"evt_{_digest(batch, event_type)}"


def deliveries_of(
    batch: Batch, endpoints: Sequence[WebhookEndpoint], now: datetime
) -> list[WebhookDelivery]:
    """One delivery for each of ``endpoints`` that subscribes to the end of ``batch``.

    Endpoints that were created after the end get none.
    """
    event_type = f"batch.{batch.status}"
    happened_at = batch.status_since
    return [
        WebhookDelivery(
            id=_delivery_id(endpoint.id, batch.id, event_type),
            tenant=batch.tenant,
            endpoint=endpoint.id,
            event_type=event_type,
            batch=batch.id,
            happened_at=happened_at,
            created_at=now,
            due_at=now,
        )
        for endpoint in endpoints
        if event_type in endpoint.event_types and endpoint.created_at <= happened_at
    ]


def delivery_ids(endpoint: EndpointId, batch: BatchId) -> list[DeliveryId]:
    """Of all deliveries that can tell ``endpoint`` of ``batch``."""
    return [_delivery_id(endpoint, batch, event_type) for event_type in EVENT_TYPES]


def _delivery_id(endpoint: EndpointId, batch: BatchId, event_type: str) -> DeliveryId:
    return DeliveryId(f"whd_{_digest(endpoint, batch, event_type)}")


def payload(id_: str, event_type: str, batch: BatchId, happened_at: datetime) -> bytes:
    return msgspec.json.encode(
        {
            "id": id_,
            "object": "event",
            "created_at": int(happened_at.timestamp()),
            "type": event_type,
            "data": {"id": batch},
        }
    )


def signed_headers(
    id_: str, body: bytes, signing_secrets: Sequence[str], now: datetime
) -> dict[str, str]:
    """The headers that identify the payload, with a signature for each secret."""
    timestamp = int(now.timestamp())
    signatures = [_signature(secret, id_, timestamp, body) for secret in signing_secrets]
    return {
        "content-type": "application/json",
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _signature(secret: str, id_: str, timestamp: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, b"%b.%d.%b" % (id_.encode(), timestamp, body), hashlib.sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"


def _digest(*names: str) -> str:
    return hashlib.blake2b("/".join(names).encode(), digest_size=16).hexdigest()
