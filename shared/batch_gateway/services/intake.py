"""Intake: creates batches from events of other systems.

The event's source and id are stored in the transaction that creates the batch, and the batch's id
derives from them, so an event that comes again makes nothing new. A request that is refused is
handled too: the sender gets an event that names the refused one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from batch_gateway.core.batch_request import SourceEvent
from batch_gateway.core.errors import Conflict, InvalidRequest, NotFound, OverQuota
from batch_gateway.core.excerpts import excerpt
from batch_gateway.core.filenames import shortened
from batch_gateway.core.ids import TenantId
from batch_gateway.core.lifecycle import rejected_event
from batch_gateway.core.model import Batch
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.objects import ObjectReader
from batch_gateway.services.batches.inline import InlineBatches
from batch_gateway.services.batches.service import BatchService, NewBatch
from batch_gateway.services.event_publisher import EventPublisher
from batch_gateway.services.files.service import FileService

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeRequest:
    """The batch that an event requests. The input is the file of ``new``, or one of the others."""

    new: NewBatch
    requests: Sequence[bytes] | None = None  # JSON objects, each on one line
    object: str | None = None  # URI


class Intake:
    def __init__(
        self,
        *,
        metadata: MetadataStore,
        batches: BatchService,
        files: FileService,
        objects: ObjectReader,
        publisher: EventPublisher,
        clock: Clock,
    ) -> None:
        self._metadata = metadata
        self._batches = batches
        self._inline = InlineBatches(batches, files)
        self._objects = objects
        self._publisher = publisher
        self._clock = clock

    async def take(
        self, tenant: TenantId, cause: SourceEvent, asked: IntakeRequest, *, traceparent: str | None
    ) -> None:
        """Make the batch that ``cause`` asks for, unless it was made already."""
        if await self._metadata.processed_events.find(cause.key) is not None:
            return
        named = {"source": cause.source, "id": cause.id}
        options = {**asked.new.options, "cause": named}
        new = replace(asked.new, options=options, cause=cause)
        try:
            batch = await self._create(tenant, cause, replace(asked, new=new), traceparent)
        except Conflict:  # made a moment ago, and deleted since
            logger.info(
                "The batch was created and deleted before",
                extra={"action": "intake", "tenant_id": tenant},
            )
            return
        except InvalidRequest as refusal:
            await self.reject(tenant, cause, refusal, traceparent=traceparent)
            return
        except OverQuota as over:
            beyond = InvalidRequest(str(over), code="quota_exceeded")
            await self.reject(tenant, cause, beyond, traceparent=traceparent)
            return
        logger.info(
            "Taken in", extra={"action": "intake", "batch_id": batch.id, "tenant_id": tenant}
        )

    async def reject(
        self,
        tenant: TenantId,
        cause: SourceEvent,
        refusal: InvalidRequest,
        *,
        traceparent: str | None,
    ) -> None:
        """Publish the event that no batch was created."""
        now = self._clock.now()
        event = rejected_event(tenant, cause, refusal, now, traceparent=traceparent)
        await self._metadata.outbox.add([event], now)
        logger.info(
            "Rejected: %s", refusal.message, extra={"action": "reject", "tenant_id": tenant}
        )
        await self._publisher.publish(event)

    async def _create(
        self, tenant: TenantId, cause: SourceEvent, asked: IntakeRequest, traceparent: str | None
    ) -> Batch:
        new = asked.new
        if asked.requests is not None:
            return await self._inline.create(
                tenant, new, asked.requests, traceparent=traceparent, seed=cause.seed
            )
        if asked.object is not None:
            return await self._copy(tenant, new, asked.object, cause, traceparent)
        if await self._metadata.files.get(tenant, new.input_file_id) is None:
            raise InvalidRequest(f"No such File object: {new.input_file_id}", param="input_file_id")
        return await self._batches.create(tenant, new, traceparent=traceparent, seed=cause.seed)

    async def _copy(
        self, tenant: TenantId, new: NewBatch, uri: str, cause: SourceEvent, traceparent: str | None
    ) -> Batch:
        """The object streams into the file store."""
        try:
            return await self._inline.create_from(
                tenant,
                new,
                shortened(uri.rpartition("/")[2]),
                self._objects.read(uri),
                traceparent=traceparent,
                seed=cause.seed,
            )
        except NotFound:
            raise InvalidRequest(f"There is no object {excerpt(uri)}.", param="object") from None
