"""Creates, changes, lists and deletes the webhook endpoints of a tenant."""

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from batch_gateway.core.errors import Busy, InvalidRequest
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.webhooks import (
    OVERLAP,
    SECRET_BYTES,
    DeliveryId,
    EndpointId,
    WebhookDelivery,
    WebhookEndpoint,
    endpoint_id,
    event_id,
    hint_of,
    payload,
    signed_headers,
    signing_secret,
)
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.pages import Page
from batch_gateway.ports.secrets import SecretSealer
from batch_gateway.ports.webhooks import WebhookClient, WebhookResponse, WebhookRows

logger = logging.getLogger(__name__)

_PAGE = 100  # endpoints looked at together
_ROUNDS = 5  # changes of the same endpoint at the same time that one gives way to


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointUpdate:
    """What is to be changed of an endpoint; None: as it is."""

    name: str | None = None
    url: str | None = None
    event_types: Sequence[str] | None = None


class EndpointService:
    """``None`` or ``False``: that tenant has no such endpoint."""

    def __init__(
        self,
        *,
        webhooks: WebhookRows,
        client: WebhookClient,
        sealer: SecretSealer,
        clock: Clock,
        most: int,
    ) -> None:
        """``most``: endpoints of one tenant."""
        self._webhooks = webhooks
        self._client = client
        self._sealer = sealer
        self._clock = clock
        self._most = most

    async def create(
        self, tenant: TenantId, name: str, url: str, event_types: Sequence[str]
    ) -> tuple[WebhookEndpoint, str]:
        """The endpoint and its secret, which cannot be seen again. Raises InvalidRequest."""
        await self._client.check(url)
        now, secret = self._clock.now(), _fresh_secret()
        endpoint = WebhookEndpoint(
            id=endpoint_id(secrets.token_bytes(16)),
            tenant=tenant,
            name=name,
            url=url,
            event_types=tuple(event_types),
            secret=self._sealer.seal(secret),
            hint=hint_of(secret),
            created_at=now,
            updated_at=now,
        )
        if not await self._webhooks.add(endpoint, most=self._most):
            raise InvalidRequest(
                f"You have {self._most} webhook endpoints already: delete one first.",
                code="too_many_webhook_endpoints",
            )
        logger.info(
            "Webhook endpoint created", extra={"action": "webhook", "endpoint": endpoint.id}
        )
        return endpoint, secret

    async def get(self, tenant: TenantId, endpoint: EndpointId) -> WebhookEndpoint | None:
        return await self._webhooks.get(tenant, endpoint)

    async def list(
        self, tenant: TenantId, *, limit: int, after: EndpointId | None
    ) -> Page[WebhookEndpoint] | None:
        """Newest first. None when ``after`` names no endpoint of the tenant."""
        return await self._webhooks.list(tenant, limit=limit, after=after)

    async def update(
        self, tenant: TenantId, endpoint: EndpointId, changes: EndpointUpdate
    ) -> WebhookEndpoint | None:
        """Change the given fields, and enable a disabled endpoint. Raises InvalidRequest."""
        if changes.url is not None:
            await self._client.check(changes.url)
        for _ in range(_ROUNDS):
            before = await self._webhooks.get(tenant, endpoint)
            if before is None:
                return None
            after = replace(
                before,
                name=before.name if changes.name is None else changes.name,
                url=before.url if changes.url is None else changes.url,
                event_types=tuple(
                    before.event_types if changes.event_types is None else changes.event_types
                ),
                disabled_at=None,
                failing_since=None if before.disabled_at else before.failing_since,
            )
            if after == before:
                return before
            after = replace(after, updated_at=self._later(before.updated_at))
            if await self._webhooks.save(before, after):
                return after
        raise Busy(f"{endpoint} is being changed by other requests")

    async def rotate(
        self, tenant: TenantId, endpoint: EndpointId, *, keep_old: bool
    ) -> tuple[WebhookEndpoint, str] | None:
        """Give the endpoint a new secret; ``keep_old``: the old one signs too for a day."""
        for _ in range(_ROUNDS):
            before = await self._webhooks.get(tenant, endpoint)
            if before is None:
                return None
            secret = _fresh_secret()
            after = replace(
                before,
                secret=self._sealer.seal(secret),
                hint=hint_of(secret),
                old_secret=before.secret if keep_old else None,
                old_secret_until=self._clock.now() + OVERLAP if keep_old else None,
                updated_at=self._later(before.updated_at),
            )
            if await self._webhooks.save(before, after):
                return after, secret
        raise Busy(f"{endpoint} is being changed by other requests")

    async def delete(self, tenant: TenantId, endpoint: EndpointId) -> bool:
        return await self._webhooks.delete(tenant, endpoint)

    async def test(
        self, tenant: TenantId, endpoint: EndpointId, event_type: str
    ) -> WebhookResponse | None:
        """Send an example now; it names a batch that does not exist."""
        found = await self._webhooks.get(tenant, endpoint)
        if found is None:
            return None
        now = self._clock.now()
        batch = BatchId(f"batch_{secrets.token_hex(16)}")
        id_ = event_id(batch, event_type)
        body = payload(id_, event_type, batch, now)
        headers = signed_headers(id_, body, signing_secrets(found, self._sealer, now), now)
        return await self._client.post(found.url, headers, body)

    async def deliveries(
        self, tenant: TenantId, endpoint: EndpointId, *, limit: int, after: DeliveryId | None
    ) -> Page[WebhookDelivery] | None:
        """Newest first. None when ``after`` names none of the endpoint's."""
        return await self._webhooks.deliveries(tenant, endpoint, limit=limit, after=after)

    async def deliveries_of_batch(
        self, tenant: TenantId, endpoint: EndpointId, batch: BatchId
    ) -> Sequence[WebhookDelivery]:
        """The deliveries of one batch to the endpoint, newest first."""
        return await self._webhooks.deliveries_of_batch(tenant, endpoint, batch)

    async def all_deliveries_of_batch(
        self, tenant: TenantId, batch: BatchId
    ) -> Sequence[tuple[WebhookEndpoint, WebhookDelivery]]:
        """The deliveries of one batch to the tenant's endpoints, newest first."""
        found: list[tuple[WebhookEndpoint, WebhookDelivery]] = []
        after: EndpointId | None = None
        while True:
            page = await self._webhooks.list(tenant, limit=_PAGE, after=after)
            endpoints = [] if page is None else page.items
            for endpoint in endpoints:
                told = await self._webhooks.deliveries_of_batch(tenant, endpoint.id, batch)
                found += [(endpoint, delivery) for delivery in told]
            if page is None or not page.more:  # None: the last endpoint was deleted meanwhile
                return sorted(found, key=lambda each: each[1].created_at, reverse=True)
            after = endpoints[-1].id

    def _later(self, before: datetime) -> datetime:
        """Now, but never ``before``: the time of the last change identifies it."""
        return max(self._clock.now(), before + timedelta(microseconds=1))


def _fresh_secret() -> str:
    return signing_secret(secrets.token_bytes(SECRET_BYTES))


def signing_secrets(endpoint: WebhookEndpoint, sealer: SecretSealer, now: datetime) -> list[str]:
    """The secrets that sign now, the newest first."""
    found = [sealer.open(endpoint.secret)]
    until = endpoint.old_secret_until
    if endpoint.old_secret is not None and until is not None and now < until:
        found.append(sealer.open(endpoint.old_secret))
    return found
