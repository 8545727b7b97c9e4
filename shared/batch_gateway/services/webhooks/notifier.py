"""Notifier: delivers due webhooks, and schedules retries.

A delivery that is taken is hidden from others for longer than an attempt takes, so a crash only
delays it. A function must not sleep until the next attempt: its time is in the row, and the janitor
wakes the notifier when it has come. An endpoint that did not answer is not asked again in the same
run: its other deliveries wait along, so one that is down neither holds up the others nor makes
work.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from batch_gateway import meters, traces
from batch_gateway.core.errors import Permanent
from batch_gateway.core.ids import BatchId
from batch_gateway.core.webhooks import (
    DeliveryBackoff,
    DeliveryState,
    EndpointId,
    WebhookDelivery,
    WebhookEndpoint,
    payload,
    signed_headers,
)
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.secrets import SecretSealer
from batch_gateway.ports.webhooks import WebhookClient, WebhookResponse, WebhookRows
from batch_gateway.services.task_group import task_group
from batch_gateway.services.webhooks.endpoints import signing_secrets

logger = logging.getLogger(__name__)

_TAKEN = 32  # deliveries at once
_GONE = 410  # the receiver is permanently gone


class Notifier:
    def __init__(
        self,
        *,
        webhooks: WebhookRows,
        client: WebhookClient,
        sealer: SecretSealer,
        clock: Clock,
        backoff: DeliveryBackoff,
        attempt: timedelta,
        budget: timedelta,
        trace_of: Callable[[BatchId], Awaitable[str | None]] | None = None,
    ) -> None:
        """``attempt``: the longest that one may take; ``budget``: of one run of ``deliver``.
        ``trace_of``: the trace context of a batch; None: deliveries have no spans."""
        self._webhooks = webhooks
        self._client = client
        self._sealer = sealer
        self._clock = clock
        self._backoff = backoff
        self._longest = attempt
        self._hold = 6 * attempt
        self._budget = budget
        self._trace_of = trace_of

    async def deliver(self) -> None:
        """Attempt every delivery whose time has come, as far as the budget goes."""
        silent: dict[EndpointId, datetime] = {}
        stop_at = asyncio.get_running_loop().time() + self._budget.total_seconds()
        while asyncio.get_running_loop().time() < stop_at:
            taken = await self._webhooks.take(self._clock.now(), limit=_TAKEN, hold=self._hold)
            if not taken:
                return
            async with task_group() as group:
                for queue in _by_endpoint(taken):
                    group.create_task(self._one_by_one(queue, silent))

    async def _one_by_one(
        self,
        queue: Sequence[tuple[WebhookDelivery, WebhookEndpoint]],
        silent: dict[EndpointId, datetime],
    ) -> None:
        """The deliveries of one endpoint, as long as it answers and they are ours.

        ``silent``: endpoints that do not answer, and when they are asked again.
        """
        clock = asyncio.get_running_loop().time
        ours_until = clock() + (self._hold - self._longest).total_seconds()
        for delivery, endpoint in queue:
            if clock() > ours_until:
                return
            if endpoint.disabled_at is not None:
                await self._drop(delivery, "the endpoint is disabled")
            elif endpoint.id in silent:
                waits = replace(delivery, due_at=silent[endpoint.id])
                await self._webhooks.settle(waits, healthy=None, now=self._clock.now())
            elif (answer := await self._attempt(delivery, endpoint)) is not None:
                again = await self._settle(delivery, endpoint, answer)
                if answer.status is None:
                    silent[endpoint.id] = again or self._clock.now() + self._backoff.longest

    async def _attempt(
        self, delivery: WebhookDelivery, endpoint: WebhookEndpoint
    ) -> WebhookResponse | None:
        """None: it cannot be signed, and is dropped."""
        now = self._clock.now()
        try:
            keys = signing_secrets(endpoint, self._sealer, now)
        except Permanent as error:
            logger.error("A webhook cannot be signed: %s", error, extra=_log(delivery))
            await self._drop(delivery, str(error))
            return None
        body = payload(delivery.event_id, delivery.event_type, delivery.batch, delivery.happened_at)
        headers = signed_headers(delivery.event_id, body, keys, now)
        if self._trace_of is None:
            return await self._client.post(endpoint.url, headers, body)
        with traces.span(
            "deliver webhook",
            await self._trace_of(delivery.batch),
            kind="client",
            attributes={
                traces.BATCH_ID: delivery.batch,
                traces.TENANT: delivery.tenant,
                "server.address": urlsplit(endpoint.url).hostname or "",
                "batch_gateway.event.type": delivery.event_type,
                "batch_gateway.attempt": delivery.attempts + 1,
            },
        ) as span:
            answer = await self._client.post(endpoint.url, headers, body)
            if answer.status is not None:
                span.set({"http.response.status_code": answer.status})
            if not answer.ok:
                span.fail("no_answer" if answer.status is None else str(answer.status))
        return answer

    async def _settle(
        self, delivery: WebhookDelivery, endpoint: WebhookEndpoint, answer: WebhookResponse
    ) -> datetime | None:
        """Write how an attempt went; when the next one is, None: there is none."""
        now = self._clock.now()
        tried = replace(
            delivery,
            attempts=delivery.attempts + 1,
            attempted_at=now,
            status_code=answer.status,
            error=answer.error,
        )
        if answer.ok:
            meters.WEBHOOK_ATTEMPTS.labels("delivered").inc()
            done = replace(tried, state=DeliveryState.DELIVERED, due_at=None)
            await self._webhooks.settle(done, healthy=True, now=now)
            logger.info("Webhook delivered", extra=_log(delivery))
            return None
        again = None if answer.status == _GONE else self._backoff.next_attempt(tried, now)
        if again is not None:
            meters.WEBHOOK_ATTEMPTS.labels("retried").inc()
            await self._webhooks.settle(replace(tried, due_at=again), healthy=False, now=now)
            logger.info(
                "Webhook delivery failed, next attempt at %s: %s",
                again,
                answer.error,
                extra=_log(delivery),
            )
            return again
        meters.WEBHOOK_ATTEMPTS.labels("failed").inc()
        failed = replace(tried, state=DeliveryState.FAILED, due_at=None)
        disable = answer.status == _GONE or self._lasts(endpoint)
        await self._webhooks.settle(failed, healthy=False, now=now, disable=disable)
        logger.warning(
            "Webhook given up%s: %s",
            ", its endpoint is disabled" if disable else "",
            answer.error,
            extra=_log(delivery),
        )
        return None

    def _lasts(self, endpoint: WebhookEndpoint) -> bool:
        """Whether ``endpoint`` has failed for half of the time that a delivery is tried."""
        since = endpoint.failing_since
        return since is not None and self._clock.now() - since >= self._backoff.give_up / 2

    async def _drop(self, delivery: WebhookDelivery, why: str) -> None:
        meters.WEBHOOK_ATTEMPTS.labels("failed").inc()
        failed = replace(delivery, state=DeliveryState.FAILED, due_at=None, error=why)
        await self._webhooks.settle(failed, healthy=None, now=self._clock.now())


def _by_endpoint(
    taken: Sequence[tuple[WebhookDelivery, WebhookEndpoint]],
) -> list[list[tuple[WebhookDelivery, WebhookEndpoint]]]:
    queues: dict[EndpointId, list[tuple[WebhookDelivery, WebhookEndpoint]]] = {}
    for delivery, endpoint in taken:
        queues.setdefault(endpoint.id, []).append((delivery, endpoint))
    return list(queues.values())


def _log(delivery: WebhookDelivery) -> dict[str, str]:
    return {"action": "webhook", "batch_id": delivery.batch, "endpoint": delivery.endpoint}
