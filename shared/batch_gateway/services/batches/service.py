"""Creates, returns, lists and cancels batches.

Creating and cancelling are one transaction each, with the event in the outbox; everything after
that is a hint that may be lost. The counts of a running batch are those of its closed shards in the
database, plus what executors report of the open ones.
"""

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from batch_gateway import traces
from batch_gateway.core.batch_request import SourceEvent
from batch_gateway.core.chaining import chained_file, check_template
from batch_gateway.core.errors import Conflict, InvalidRequest
from batch_gateway.core.events import EventType, internal_event
from batch_gateway.core.ids import BatchId, FileId, TenantId, batch_id
from batch_gateway.core.lifecycle import lifecycle_event
from batch_gateway.core.model import Batch, BatchStatus
from batch_gateway.core.quotas import NO_QUOTAS, Quotas
from batch_gateway.core.validation import ANY_ENDPOINT, ENDPOINTS, EXTENDED_ENDPOINTS
from batch_gateway.core.window import parse_window
from batch_gateway.ports.batches import ALL_BATCHES, BatchFilter
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.metadata import MetadataStore, Page
from batch_gateway.services.batches.completion_estimates import CompletionEstimates
from batch_gateway.services.event_publisher import EventPublisher
from batch_gateway.services.files.content import BATCH
from batch_gateway.services.header_passthrough import HeaderPassthrough
from batch_gateway.services.request_errors import invalid_value
from batch_gateway.services.termination import Termination

logger = logging.getLogger(__name__)

_GOING_ON = frozenset({BatchStatus.CANCELLING, BatchStatus.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A client's request for a batch; lengths and types have been checked."""

    input_file_id: FileId
    endpoint: str
    completion_window: str
    metadata: Mapping[str, str] | None = None
    output_expires_after_s: int | None = None  # None: the deployment's default
    priority: int = 5  # 0 (first) to 9 (last)
    options: Mapping[str, Any] = field(default_factory=dict)  # extensions, by name
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # of its calls
    cause: SourceEvent | None = None  # None: the request of a user, not an event
    api_key: str | None = None  # id of the request's API key; None: another kind of authentication


class BatchService:
    """A tenant's batches. ``None``: that tenant has no such batch."""

    def __init__(
        self,
        *,
        metadata: MetadataStore,
        publisher: EventPublisher,
        termination: Termination,
        clock: Clock,
        fence: timedelta,
        strict: bool,
        header_passthrough: HeaderPassthrough | None = None,
        quotas: Quotas = NO_QUOTAS,
        estimates: CompletionEstimates | None = None,
    ) -> None:
        """``header_passthrough`` None: no headers are passed on; ``estimates`` None: no completion
        estimates."""
        self._quotas = quotas
        self._metadata = metadata
        self._publisher = publisher
        self._termination = termination
        self._clock = clock
        self._fence = fence
        self._strict = strict
        self._header_passthrough = header_passthrough
        self._estimates = estimates

    def window(self, new: NewBatch) -> timedelta:
        """The window of what is asked for. Raises InvalidRequest if it or the endpoint is none."""
        any_endpoint = new.endpoint == ANY_ENDPOINT and not self._strict
        endpoints = ENDPOINTS if self._strict else EXTENDED_ENDPOINTS
        if new.endpoint not in endpoints and not any_endpoint:
            raise invalid_value(new.endpoint, endpoints, param="endpoint")
        if self._strict and new.completion_window != "24h":
            raise invalid_value(new.completion_window, ["24h"], param="completion_window")
        return parse_window(new.completion_window)

    async def create(
        self,
        tenant: TenantId,
        new: NewBatch,
        *,
        traceparent: str | None,
        seed: bytes | None = None,
    ) -> Batch:
        """Accept a batch: from the commit on it will end, whatever happens to its events.

        An input file that is not there (or another tenant's) is no fault of the request: OpenAI
        accepts the batch, and it fails in planning. The id derives from ``seed`` (16 random bytes;
        None: fresh ones): a second call with the same finds the batch that the first one made.
        Raises InvalidRequest, OverQuota.
        """
        name = batch_id(seed or secrets.token_bytes(16))
        about = {traces.BATCH_ID: name, traces.TENANT: tenant}
        with traces.span("create batch", traceparent, attributes=about) as span:
            return await self._create(tenant, name, new, span.context)

    async def _create(
        self, tenant: TenantId, name: BatchId, new: NewBatch, trace: str | None
    ) -> Batch:
        window = self.window(new)
        now = self._clock.now()
        if "after" in new.options:
            await self._check_chain(tenant, new)
            new = replace(new, input_file_id=chained_file(name))
        await self._check_purpose(tenant, new.input_file_id)
        batch = Batch(
            id=name,
            tenant=tenant,
            status=BatchStatus.VALIDATING,
            endpoint=new.endpoint,
            input_file_id=new.input_file_id,
            completion_window=new.completion_window,
            deadline=now + window,
            created_at=now,
            metadata=new.metadata,
            output_expires_after_s=new.output_expires_after_s,
            priority=new.priority,
            options=new.options,
            traceparent=trace,
            api_key=new.api_key,
            sealed=None
            if self._header_passthrough is None
            else self._header_passthrough.seal(name, new.headers),
        )
        event = lifecycle_event(EventType.BATCH_CREATED, batch)
        try:
            await self._metadata.batches.create(
                batch, [event], cause=new.cause, quotas=self._quotas
            )
        except Conflict:
            made = await self._metadata.batches.get(tenant, batch.id)
            if made is None:
                raise
            return made
        logger.info("Created", extra={"action": "created", "batch_id": batch.id})
        await self._publisher.publish_soon(event)
        return batch

    async def get(self, tenant: TenantId, batch: BatchId) -> Batch | None:
        """The batch; while it runs, with its estimate and what it waits for."""
        found = await self._metadata.batches.get(tenant, batch)
        if found is None:
            return None
        [estimated] = await self._estimated([found])
        return estimated

    async def list(
        self,
        tenant: TenantId,
        *,
        limit: int,
        after: BatchId | None,
        offset: int = 0,
        only: BatchFilter = ALL_BATCHES,
    ) -> Page[Batch] | None:
        """Newest first. None when ``after`` names no batch of the tenant.

        A page without items still shows whether there is something to list.
        """
        page = await self._metadata.batches.list(
            tenant, limit=max(limit, 1), after=after, offset=offset, only=only
        )
        if page is None:
            return None
        if limit == 0:
            return Page(items=(), more=bool(page.items))
        return replace(page, items=await self._estimated(page.items))

    async def _estimated(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        return batches if self._estimates is None else await self._estimates.add(batches)

    async def cancel(self, tenant: TenantId, batch: BatchId) -> Batch | None:
        """Request the cancellation of a batch; a second request changes nothing.

        Raises Conflict when it has ended.

        The event is announced again too: the first caller may have died before it was sent.
        """
        asked = await self._metadata.batches.get(tenant, batch)
        if asked is None:
            return None
        now = self._clock.now()
        event = internal_event(EventType.BATCH_CANCELLING, batch, traceparent=asked.traceparent)
        found = await self._metadata.batches.cancel(
            tenant, batch, now=now, fence_at=now + self._fence, events=[event]
        )
        if found is None:
            found = await self._metadata.batches.get(tenant, batch)
            if found is None:
                return None
            if found.status not in _GOING_ON:
                raise Conflict(f"Cannot cancel a batch with status '{found.status}'.")
        if found.status is BatchStatus.CANCELLING:
            logger.info("Cancelling", extra={"action": "cancelling", "batch_id": batch})
            await self._publisher.publish(event)
            await self._termination.notify_executors(batch)
        return found

    async def _check_chain(self, tenant: TenantId, new: NewBatch) -> None:
        """Raise InvalidRequest unless there is a batch to follow, and a template for it."""
        after = new.options["after"]
        check_template(after["template"])
        if new.endpoint == ANY_ENDPOINT:
            raise InvalidRequest(
                "Invalid 'endpoint': a batch that follows another names the endpoint of its "
                "requests.",
                param="endpoint",
                code="invalid_value",
            )
        if await self._metadata.batches.get(tenant, BatchId(after["batch_id"])) is None:
            raise InvalidRequest(
                f"No batch found with id '{after['batch_id']}'.", param="after.batch_id"
            )

    async def _check_purpose(self, tenant: TenantId, file: FileId) -> None:
        found = await self._metadata.files.get(tenant, file)
        if found is not None and found.purpose != BATCH:
            raise InvalidRequest(
                f"Invalid 'input_file_id': expected a file with purpose '{BATCH}', but "
                f"'{file}' has purpose '{found.purpose}'.",
                param="input_file_id",
                code="invalid_value",
            )
