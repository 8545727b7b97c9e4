"""Reports that this process of a function runs, so that operators can count the processes."""

import asyncio
import logging
import secrets
from contextlib import suppress
from datetime import datetime, timedelta

from batch_gateway.core.errors import BatchGatewayError
from batch_gateway.ports.function_instances import FunctionInstances

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=10)


class InstanceHeartbeat:
    def __init__(
        self, instances: FunctionInstances, function: str, *, every: timedelta = EVERY
    ) -> None:
        self._instances = instances
        self._function = function
        self._every = every
        self._id = secrets.token_hex(8)

    async def run(self) -> None:
        """Report this process until cancelled, then its end. Never raises otherwise."""
        started_at: datetime | None = None
        try:
            while True:
                try:
                    started_at = await self._instances.report(
                        self._function,
                        self._id,
                        started_at=started_at,
                        lifetime=2.5 * self._every,
                    )
                except BatchGatewayError as error:
                    logger.info("Instance not reported: %s", error, extra={"action": "report"})
                except Exception:  # it would end the function
                    logger.exception("Instance not reported", extra={"action": "report"})
                await asyncio.sleep(self._every.total_seconds())
        finally:
            if started_at is not None:
                with suppress(Exception):
                    await self._instances.leave(self._function, self._id, started_at=started_at)
