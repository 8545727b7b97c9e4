"""The steps after the end of a batch: its event, its webhooks, and the deletion of its work.

The janitor repeats what fails here: the events are in the outbox, and a batch whose work is not
deleted is found by its row.
"""

import asyncio
from collections.abc import Sequence

from batch_gateway.core import lifecycle
from batch_gateway.core.layout import work_prefix
from batch_gateway.core.model import Batch, Lease
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.shard_queue import ShardQueue
from batch_gateway.services.event_publisher import EventPublisher, log_errors
from batch_gateway.services.webhooks.outbox import WebhookOutbox

_TOGETHER = 100  # batches of one round


class EndedBatchHandler:
    """Announces ended batches, and deletes what only their work needed."""

    def __init__(
        self,
        metadata: MetadataStore,
        files: FileStore,
        publisher: EventPublisher,
        webhook_outbox: WebhookOutbox,
    ) -> None:
        self._metadata = metadata
        self._files = files
        self._publisher = publisher
        self._webhook_outbox = webhook_outbox

    async def announce(self, *batches: Batch) -> None:
        await self._publisher.publish(*map(lifecycle.terminal_event, batches))
        await self._webhook_outbox.enqueue(*batches)

    async def clear(self, *batches: Batch) -> None:
        for batch in batches:
            await self._files.delete_prefix(work_prefix(batch.id))
        await self._metadata.batches.swept(*(batch.id for batch in batches))


class EndedBatchWorker:
    """Announces and clears batches in the background, several at a time."""

    def __init__(self, ended: EndedBatchHandler, queue: ShardQueue) -> None:
        self._ended = ended
        self._queue = queue
        self._waiting: list[tuple[Batch, Lease]] = []
        self._added = asyncio.Event()
        self._at_work = asyncio.Lock()

    def add(self, batch: Batch, lease: Lease) -> None:
        """Add ``batch``, which was completed under ``lease``."""
        self._waiting.append((batch, lease))
        self._added.set()

    async def keep(self) -> None:
        """Work until cancelled."""
        while True:
            await self._added.wait()
            await self.drain()

    async def drain(self) -> None:
        """Work until the queue is empty. Logs errors of stores and of the broker."""
        async with self._at_work:
            while self._waiting:
                some, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
                async with log_errors("Left for the janitor", "ended"):
                    await self._finish(some)
            self._added.clear()

    async def _finish(self, ended: Sequence[tuple[Batch, Lease]]) -> None:
        batches = [batch for batch, _ in ended]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.complete([lease.shard.id for _, lease in ended]))
            group.create_task(self._ended.announce(*batches))
        await self._ended.clear(*batches)
