"""External events that already created a batch; ``BatchRows.create`` writes them."""

from datetime import datetime
from typing import Protocol

from batch_gateway.core.ids import BatchId


class ProcessedEventRows(Protocol):
    async def find(self, cause: str) -> BatchId | None:
        """The batch that was made for the cause with this key, also when it is deleted since."""
        ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` causes recorded before ``before``; return how many."""
        ...
