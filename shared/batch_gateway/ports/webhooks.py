"""Rows of webhook endpoints and deliveries, and the client that calls receivers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.webhooks import DeliveryId, EndpointId, WebhookDelivery, WebhookEndpoint
from batch_gateway.ports.pages import Page


class WebhookRows(Protocol):
    async def add(self, endpoint: WebhookEndpoint, *, most: int | None = None) -> bool:
        """Add an endpoint; False when its tenant has ``most`` endpoints already.

        Atomic: concurrent calls never add more than ``most``. None: any number. Raises Conflict
        when the id is taken.
        """
        ...

    async def get(self, tenant: TenantId, endpoint: EndpointId) -> WebhookEndpoint | None:
        """None when there is none, or it is another tenant's."""
        ...

    async def list(
        self, tenant: TenantId, *, limit: int, after: EndpointId | None = None
    ) -> Page[WebhookEndpoint] | None:
        """Newest first (ties by id). None when ``after`` names no endpoint of the tenant."""
        ...

    async def save(self, before: WebhookEndpoint, after: WebhookEndpoint) -> bool:
        """Write ``after``; False when ``before.updated_at`` is not the row's any more."""
        ...

    async def delete(self, tenant: TenantId, endpoint: EndpointId) -> bool:
        """Remove an endpoint with all its deliveries; False when it is not the tenant's."""
        ...

    async def subscribed(self, tenant: TenantId, event_type: str) -> Sequence[WebhookEndpoint]:
        """The tenant's endpoints that subscribe to ``event_type`` and are not disabled."""
        ...

    async def enqueue(self, deliveries: Sequence[WebhookDelivery]) -> int:
        """Add deliveries and return how many are new; one that is there stays as it is.

        So does one whose endpoint is gone: it is not added.
        """
        ...

    async def due(self, now: datetime) -> bool:
        """Whether a pending delivery's time has come."""
        ...

    async def pending(self) -> int:
        """How many deliveries are pending, of all tenants."""
        ...

    async def take(
        self, now: datetime, *, limit: int, hold: timedelta
    ) -> Sequence[tuple[WebhookDelivery, WebhookEndpoint]]:
        """Pending deliveries whose time has come, longest due first, and their endpoints.

        They are not due again before ``now`` + ``hold``, so no other notifier takes them meanwhile.
        """
        ...

    async def settle(
        self,
        delivery: WebhookDelivery,
        *,
        healthy: bool | None,
        now: datetime,
        disable: bool = False,
    ) -> None:
        """Write how an attempt went, if the delivery is still pending.

        ``healthy``: whether the endpoint has answered well, which ends the time that it has been
        failing for, or begins it; None: it was not called. ``disable`` ends its deliveries.
        """
        ...

    async def deliveries(
        self,
        tenant: TenantId,
        endpoint: EndpointId,
        *,
        limit: int,
        after: DeliveryId | None = None,
    ) -> Page[WebhookDelivery] | None:
        """The endpoint's deliveries, newest first. None when ``after`` names none of them."""
        ...

    async def deliveries_of_batch(
        self, tenant: TenantId, endpoint: EndpointId, batch: BatchId
    ) -> Sequence[WebhookDelivery]:
        """Deliveries to the endpoint about one batch, newest first; none of another tenant's."""
        ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` deliveries made before ``before``; return how many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookResponse:
    """How one attempt went."""

    status: int | None  # None: there was no answer
    error: str | None  # None: the receiver has acknowledged it

    @property
    def ok(self) -> bool:
        return self.error is None


class WebhookClient(Protocol):
    async def check(self, url: str) -> None:
        """Raise InvalidRequest when requests must not be sent to ``url``."""
        ...

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> WebhookResponse:
        """Send one request, within a time-out and without following redirects. Never raises."""
        ...
