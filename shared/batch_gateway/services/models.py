"""Lists the models that requests may name: configured ones, and those that engines report.

The engine's answer is remembered for some seconds, and so is its absence: a list that clients ask
for often must neither burden the engine nor wait for one that is away. What was known last is
better than nothing, because a batch may still name it and wait for the engine's return.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from batch_gateway.core.errors import Unavailable
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.engine import ModelCatalog, ServedModel
from batch_gateway.ports.routing import RouteProvider

logger = logging.getLogger(__name__)

REMEMBERED = timedelta(seconds=5)
OWNER = "batch-gateway"


class ModelService:
    def __init__(self, *, routes: RouteProvider, engine: ModelCatalog, clock: Clock) -> None:
        """``engine`` queries the default endpoints, which ``routes`` uses for any other name."""
        self._routes = routes
        self._engine = engine
        self._clock = clock
        self._known: Sequence[ServedModel] = ()
        self._asked_at: datetime | None = None
        self._asking = asyncio.Lock()  # many clients, one question

    async def list(self) -> Sequence[ServedModel]:
        """All models; of an engine that has been away from the start: none."""
        table = self._routes.table
        configured = [ServedModel(id=name, created=0, owned_by=OWNER) for name in table.models]
        if not table.default:
            return configured
        async with self._asking:
            now = self._clock.now()
            if self._asked_at is None or now - self._asked_at >= REMEMBERED:
                await self._ask()
                self._asked_at = self._clock.now()
        return [*configured, *(model for model in self._known if model.id not in table.models)]

    async def get(self, name: str) -> ServedModel | None:
        """None when no such model may be named."""
        return next((model for model in await self.list() if model.id == name), None)

    async def _ask(self) -> None:
        try:
            self._known = await self._engine.models()
        except Unavailable as error:
            logger.warning("Cannot list models: %s", error, extra={"action": "list_models"})
