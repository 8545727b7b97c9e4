"""Webhook endpoints and deliveries."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.adapters.checked import checked
from batch_gateway.adapters.corrupt_rows import decodable
from batch_gateway.adapters.sql.accounts import lock_account
from batch_gateway.adapters.sql.database import SqlDatabase
from batch_gateway.adapters.sql.dialects import insert_new
from batch_gateway.adapters.sql.paging import listing
from batch_gateway.adapters.sql.rows import Columns, Row, columns_of
from batch_gateway.adapters.sql.schema import PENDING, UtcTimestamp
from batch_gateway.adapters.sql.schema import webhook_deliveries as deliveries
from batch_gateway.adapters.sql.schema import webhook_endpoints as endpoints
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.webhooks import (
    DeliveryId,
    EndpointId,
    WebhookDelivery,
    WebhookEndpoint,
    delivery_ids,
)
from batch_gateway.ports.pages import Page


class SqlWebhooks:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, endpoint: WebhookEndpoint, *, most: int | None = None) -> bool:
        """The tenant's account is locked, so concurrent calls count one after the other."""
        owned = sa.select(sa.func.count()).where(endpoints.c.tenant == endpoint.tenant)
        async with self._database.writing() as connection:
            if most is not None:
                await lock_account(connection, endpoint.tenant)
                if (await connection.execute(owned)).scalar_one() >= most:
                    return False
            await connection.execute(sa.insert(endpoints).values(_endpoint_columns(endpoint)))
        return True

    async def get(self, tenant: TenantId, endpoint: EndpointId) -> WebhookEndpoint | None:
        query = sa.select(endpoints).where(endpoints.c.id == endpoint, endpoints.c.tenant == tenant)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _to_endpoint(row)

    async def list(
        self, tenant: TenantId, *, limit: int, after: EndpointId | None = None
    ) -> Page[WebhookEndpoint] | None:
        return await listing(
            self._database, endpoints, tenant, _to_endpoint, after=after, limit=limit
        )

    async def save(self, before: WebhookEndpoint, after: WebhookEndpoint) -> bool:
        change = (
            sa.update(endpoints)
            .where(endpoints.c.id == before.id, endpoints.c.updated_at == before.updated_at)
            .values(_endpoint_columns(after))
        )
        async with self._database.writing() as connection:
            return (await connection.execute(change)).rowcount == 1

    async def delete(self, tenant: TenantId, endpoint: EndpointId) -> bool:
        mine = sa.and_(endpoints.c.id == endpoint, endpoints.c.tenant == tenant)
        async with self._database.writing() as connection:
            locked = sa.select(endpoints.c.id).where(mine).with_for_update()
            if (await connection.execute(locked)).one_or_none() is None:
                return False
            await connection.execute(sa.delete(deliveries).where(deliveries.c.endpoint == endpoint))
            await connection.execute(sa.delete(endpoints).where(mine))
        return True

    async def subscribed(self, tenant: TenantId, event_type: str) -> Sequence[WebhookEndpoint]:
        query = (
            sa.select(endpoints)
            .where(endpoints.c.tenant == tenant, endpoints.c.disabled_at.is_(None))
            .order_by(endpoints.c.created_at, endpoints.c.id)
        )
        async with self._database.reading() as connection:
            found = decodable(await connection.execute(query), _to_endpoint)
        return [endpoint for endpoint in found if event_type in endpoint.event_types]

    async def enqueue(self, wanted: Sequence[WebhookDelivery]) -> int:
        """The endpoints are locked against being deleted meanwhile."""
        there = (
            sa.select(endpoints.c.id)
            .where(endpoints.c.id.in_({delivery.endpoint for delivery in wanted}))
            .order_by(endpoints.c.id)
            .with_for_update(read=True)
        )
        async with self._database.writing() as connection:
            known = set((await connection.scalars(there)).all())
            rows = [asdict(delivery) for delivery in wanted if delivery.endpoint in known]
            if not rows:
                return 0
            return (
                await connection.execute(
                    insert_new(connection.dialect.name, deliveries).values(rows)
                )
            ).rowcount

    async def due(self, now: datetime) -> bool:
        query = sa.select(deliveries.c.id).where(PENDING, deliveries.c.due_at <= now).limit(1)
        async with self._database.reading() as connection:
            return await connection.scalar(query) is not None

    async def pending(self) -> int:
        query = sa.select(sa.func.count()).select_from(deliveries).where(PENDING)
        async with self._database.reading() as connection:
            return await connection.scalar(query) or 0

    async def take(
        self, now: datetime, *, limit: int, hold: timedelta
    ) -> Sequence[tuple[WebhookDelivery, WebhookEndpoint]]:
        """Rows that cannot be decoded are held as well, so they are not in the way each time."""
        query = (
            sa.select(deliveries)
            .where(PENDING, deliveries.c.due_at <= now)
            .order_by(deliveries.c.due_at, deliveries.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        later = now + hold
        while True:
            async with self._database.writing() as connection:
                rows = (await connection.execute(query)).all()
                if not rows:
                    return []
                await connection.execute(
                    sa.update(deliveries)
                    .where(deliveries.c.id.in_([row.id for row in rows]))
                    .values(due_at=later)
                )
                taken = decodable(rows, _to_delivery)
                of = await _endpoints(connection, {delivery.endpoint for delivery in taken})
            known = [delivery for delivery in taken if delivery.endpoint in of]
            if known:
                return [(replace(one, due_at=later), of[one.endpoint]) for one in known]

    async def settle(
        self,
        delivery: WebhookDelivery,
        *,
        healthy: bool | None,
        now: datetime,
        disable: bool = False,
    ) -> None:
        columns = asdict(delivery)
        attempt = {
            name: columns[name]
            for name in ("state", "due_at", "attempts", "attempted_at", "status_code", "error")
        }
        health: Columns = {}
        if healthy:
            health = {"failing_since": None}
        elif healthy is not None:
            since = sa.func.coalesce(endpoints.c.failing_since, sa.literal(now, UtcTimestamp))
            health = {"failing_since": since}
        if disable:
            health["disabled_at"] = now
        async with self._database.writing() as connection:
            if health:  # endpoint before delivery, as when one is deleted
                mine = endpoints.c.id == delivery.endpoint
                await connection.execute(sa.update(endpoints).where(mine).values(health))
            pending = sa.and_(deliveries.c.id == delivery.id, PENDING)
            await connection.execute(sa.update(deliveries).where(pending).values(attempt))

    async def deliveries(
        self,
        tenant: TenantId,
        endpoint: EndpointId,
        *,
        limit: int,
        after: DeliveryId | None = None,
    ) -> Page[WebhookDelivery] | None:
        return await listing(
            self._database,
            deliveries,
            tenant,
            _to_delivery,
            deliveries.c.endpoint == endpoint,
            after=after,
            limit=limit,
        )

    async def deliveries_of_batch(
        self, tenant: TenantId, endpoint: EndpointId, batch: BatchId
    ) -> Sequence[WebhookDelivery]:
        query = (
            sa.select(deliveries)
            .where(
                deliveries.c.id.in_(delivery_ids(endpoint, batch)), deliveries.c.tenant == tenant
            )
            .order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc())
        )
        async with self._database.reading() as connection:
            return decodable(await connection.execute(query), _to_delivery)

    async def forget(self, before: datetime, limit: int) -> int:
        old = (
            sa.select(deliveries.c.id)
            .where(deliveries.c.created_at < before)
            .order_by(deliveries.c.created_at, deliveries.c.id)
            .limit(limit)
        )
        async with self._database.writing() as connection:
            result = await connection.execute(sa.delete(deliveries).where(deliveries.c.id.in_(old)))
            return result.rowcount


async def _endpoints(
    connection: AsyncConnection, ids: set[EndpointId]
) -> dict[EndpointId, WebhookEndpoint]:
    rows = await connection.execute(sa.select(endpoints).where(endpoints.c.id.in_(ids)))
    return {endpoint.id: endpoint for endpoint in decodable(rows, _to_endpoint)}


def _endpoint_columns(endpoint: WebhookEndpoint) -> Columns:
    return {**asdict(endpoint), "event_types": list(endpoint.event_types)}


def _to_endpoint(row: Row) -> WebhookEndpoint:
    """Raises CorruptRow."""
    return checked("webhook endpoint", WebhookEndpoint, columns_of(row))


def _to_delivery(row: Row) -> WebhookDelivery:
    """Raises CorruptRow."""
    return checked("webhook delivery", WebhookDelivery, columns_of(row))
