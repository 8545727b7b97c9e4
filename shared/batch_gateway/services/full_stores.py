"""Shares between processes which stores are full.

The adapters report a write that a full store has refused. The report is counted, logged and kept
for ten seconds in the coordination store, so that uploads are refused before their bytes are sent
and users see why their batches wait. Every refused write repeats the report.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from batch_gateway import meters
from batch_gateway.core.errors import StorageFull, Temporary
from batch_gateway.ports.coordination import CoordinationStore

logger = logging.getLogger(__name__)

#: How long a store that was full counts as full. Work that was refused is tried again sooner.
KEPT = timedelta(seconds=10)
_EVERY_S = 1.0


class FullStoreReporter:
    """Takes the reports of one process."""

    def __init__(self) -> None:
        self._found: set[str] = set()  # not published yet
        self._any = asyncio.Event()

    def reporter(self, store: str) -> "partial[None]":
        """What an adapter calls when ``store`` takes no more."""
        return partial(self._full, store)

    def _full(self, store: str) -> None:
        meters.STORAGE_FULL.labels(store).inc()
        self._found.add(store)
        self._any.set()

    @asynccontextmanager
    async def published(self, coordination: CoordinationStore) -> AsyncIterator[None]:
        """Report to the other processes while the context is open."""
        publishing = asyncio.create_task(self._publish(coordination))
        try:
            yield
        finally:
            publishing.cancel()
            await asyncio.wait({publishing})

    async def _publish(self, coordination: CoordinationStore) -> None:
        while True:
            await self._any.wait()
            self._any.clear()
            for store in sorted(self._found):
                logger.error("The %s store is full", store, extra={"action": "storage_full"})
                try:
                    await coordination.full_stores.report(store, KEPT)
                except Temporary as error:
                    logger.warning("Not published: %s", error, extra={"action": "unavailable"})
            self._found.clear()
            await asyncio.sleep(_EVERY_S)


async def refuse_if_full(coordination: CoordinationStore) -> None:
    """Raise StorageFull when what a user sends could not be kept now. Does not raise else."""
    try:
        full = await coordination.full_stores.stores()
    except Temporary:
        return  # it may have room: the store itself tells
    kept = [store for store in full if store != "scratch"]
    if kept:
        raise StorageFull(f"the {kept[0]} store was full a moment ago")
