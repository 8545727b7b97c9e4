"""Metrics of an engine, or of a router in front of several."""

from datetime import timedelta
from typing import Protocol

from batch_gateway.core.engine_signals import EngineReading
from batch_gateway.core.routing import TlsOptions


class EngineMetrics(Protocol):
    async def read(
        self, url: str, model: str, timeout: timedelta, tls: TlsOptions | None = None
    ) -> EngineReading:
        """The metrics at ``url`` as far as they concern ``model``; ``tls`` as calls of it have it.

        Metrics that name models count for theirs only, unless none names ``model`` (an adapter, or
        another name for it): then all count. Raises Unavailable when there is no answer in time,
        or when it shows no queue that we know.
        """
        ...

    async def close(self) -> None: ...
