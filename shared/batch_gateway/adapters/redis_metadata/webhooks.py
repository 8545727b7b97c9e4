"""WebhookRows: endpoints and deliveries."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from batch_gateway.adapters.corrupt_rows import decodable
from batch_gateway.adapters.redis_metadata.fields import (
    INSTANT,
    NUMBER,
    TEXT,
    FieldCodec,
    Row,
    decoded,
    json_type,
    micros,
    row,
    write,
)
from batch_gateway.adapters.redis_metadata.paging import listing
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.webhooks import (
    DeliveryId,
    DeliveryState,
    EndpointId,
    WebhookDelivery,
    WebhookEndpoint,
    delivery_ids,
)
from batch_gateway.ports.pages import Page

_ENDPOINT = {
    "id": TEXT,
    "tenant": TEXT,
    "name": TEXT,
    "url": TEXT,
    "event_types": json_type(tuple[str, ...]),
    "secret": TEXT,
    "hint": TEXT,
    "created_at": INSTANT,
    "updated_at": INSTANT,
    "old_secret": TEXT,
    "old_secret_until": INSTANT,
    "failing_since": INSTANT,
    "disabled_at": INSTANT,
}

_DELIVERY = {
    "id": TEXT,
    "tenant": TEXT,
    "endpoint": TEXT,
    "event_type": TEXT,
    "batch": TEXT,
    "happened_at": INSTANT,
    "created_at": INSTANT,
    "state": FieldCodec(str, DeliveryState),
    "due_at": INSTANT,
    "attempts": NUMBER,
    "attempted_at": INSTANT,
    "status_code": NUMBER,
    "error": TEXT,
}

_AT_ONCE = 500  # deliveries deleted by one script, which blocks the server while it runs


class RedisWebhooks:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._scripts = scripts

    async def add(self, endpoint: WebhookEndpoint, *, most: int | None = None) -> bool:
        added = await self._scripts.run(
            "add_webhook_endpoint", endpoint=_from_endpoint(endpoint), most=most
        )
        return bool(added)

    async def get(self, tenant: TenantId, endpoint: EndpointId) -> WebhookEndpoint | None:
        found = await self._scripts.row(self._scripts.keys.webhook_endpoint(endpoint))
        return _to_endpoint(found) if found and found["tenant"] == tenant else None

    async def list(
        self, tenant: TenantId, *, limit: int, after: EndpointId | None = None
    ) -> Page[WebhookEndpoint] | None:
        return await listing(
            self._scripts, "webhook-endpoint", tenant, _to_endpoint, after=after, limit=limit
        )

    async def save(self, before: WebhookEndpoint, after: WebhookEndpoint) -> bool:
        saved = await self._scripts.run(
            "save_webhook_endpoint", updated_at=before.updated_at, endpoint=_from_endpoint(after)
        )
        return bool(saved)

    async def delete(self, tenant: TenantId, endpoint: EndpointId) -> bool:
        while True:
            deleted = int(
                await self._scripts.run(
                    "delete_webhook_endpoint", tenant=tenant, endpoint=endpoint, limit=_AT_ONCE
                )
            )
            if deleted < 2:
                return bool(deleted)

    async def subscribed(self, tenant: TenantId, event_type: str) -> Sequence[WebhookEndpoint]:
        rows = await self._scripts.run("webhook_endpoints", tenant=tenant)
        found = decodable([row(fields) for fields in rows], _to_endpoint)
        return [endpoint for endpoint in found if event_type in endpoint.event_types]

    async def enqueue(self, deliveries: Sequence[WebhookDelivery]) -> int:
        rows = [_from_delivery(delivery) for delivery in deliveries]
        return int(await self._scripts.run("enqueue_deliveries", deliveries=rows))

    async def due(self, now: datetime) -> bool:
        return bool(await self._scripts.run("deliveries_due", now=now))

    async def pending(self) -> int:
        return int(await self._scripts.run("deliveries_pending"))

    async def take(
        self, now: datetime, *, limit: int, hold: timedelta
    ) -> Sequence[tuple[WebhookDelivery, WebhookEndpoint]]:
        """Rows that cannot be decoded are held as well, so they are not in the way each time."""
        while taken := await self._scripts.run(
            "take_deliveries", now=now, later=now + hold, limit=limit
        ):
            if known := decodable(taken, _to_taken):
                return known
        return []

    async def settle(
        self,
        delivery: WebhookDelivery,
        *,
        healthy: bool | None,
        now: datetime,
        disable: bool = False,
    ) -> None:
        await self._scripts.run(
            "settle_delivery",
            delivery=_from_delivery(delivery),
            healthy=None if healthy is None else str(int(healthy)),
            now=micros(now),
            disable=str(int(disable)),
        )

    async def deliveries(
        self,
        tenant: TenantId,
        endpoint: EndpointId,
        *,
        limit: int,
        after: DeliveryId | None = None,
    ) -> Page[WebhookDelivery] | None:
        return await listing(
            self._scripts,
            "webhook-delivery",
            tenant,
            _to_delivery,
            purpose=endpoint,
            after=after,
            limit=limit,
        )

    async def deliveries_of_batch(
        self, tenant: TenantId, endpoint: EndpointId, batch: BatchId
    ) -> Sequence[WebhookDelivery]:
        keys = [self._scripts.keys.webhook_delivery(id_) for id_ in delivery_ids(endpoint, batch)]
        rows = [await self._scripts.row(key) for key in keys]
        found = decodable([one for one in rows if one.get("tenant") == tenant], _to_delivery)
        return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)

    async def forget(self, before: datetime, limit: int) -> int:
        return int(await self._scripts.run("forget_deliveries", before=before, limit=limit))


def _from_endpoint(endpoint: WebhookEndpoint) -> Row:
    return write(endpoint, _ENDPOINT)


def _to_endpoint(row: Row) -> WebhookEndpoint:
    """Raises CorruptRow."""
    return decoded("webhook endpoint", WebhookEndpoint, row, _ENDPOINT)


def _from_delivery(delivery: WebhookDelivery) -> Row:
    return write(delivery, _DELIVERY)


def _to_delivery(row: Row) -> WebhookDelivery:
    """Raises CorruptRow."""
    return decoded("webhook delivery", WebhookDelivery, row, _DELIVERY)


def _to_taken(rows: Sequence[Sequence[str]]) -> tuple[WebhookDelivery, WebhookEndpoint]:
    delivery, endpoint = map(row, rows)
    return _to_delivery(delivery), _to_endpoint(endpoint)
