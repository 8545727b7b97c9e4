"""PingSource as a timer: posts a CloudEvent on a cron schedule.

A tick that fails or is missed is gone, as on a cluster; the next one comes soon. Under a speed-up
the schedule's steps shrink, the time in a tick's data is still the real one.
"""

import asyncio
import logging
from datetime import UTC, datetime
from uuid import uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx

from batch_gateway.core.cron import parse_cron
from batch_gateway.local.broker.config import DeliveryTarget
from batch_gateway.local.durations import TimeScale
from batch_gateway.local.resources import PingSource

logger = logging.getLogger(__name__)


class PingTimer:
    """Raises ValueError for a schedule or time zone that does not exist."""

    def __init__(self, source: PingSource, sink: DeliveryTarget, durations: TimeScale) -> None:
        self._source = source
        self._sink = sink
        self._durations = durations
        self._cron = parse_cron(source.schedule)
        self._zone = _zone(source.timezone)

    async def run(self, *, at_once: bool) -> None:
        """Tick for ever; with ``at_once`` also now, for what has become due meanwhile."""
        local = httpx.AsyncHTTPTransport(verify=False)  # no TLS on the way, so no certificates
        async with httpx.AsyncClient(transport=local) as http, asyncio.TaskGroup() as ticks:
            if at_once:
                ticks.create_task(self._tick(http))
            now = self._now()
            while True:
                due = self._cron.next(now)
                await asyncio.sleep(self._durations((due - now).total_seconds()))
                ticks.create_task(self._tick(http))
                # Never earlier than due: a sleep may end a moment too soon and tick twice.
                now = due if self._durations.speed_up != 1 else max(due, self._now())

    def _now(self) -> datetime:
        return datetime.now(UTC).astimezone(self._zone)

    async def _tick(self, http: httpx.AsyncClient) -> None:
        source = self._source
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(uuid4()),
            "ce-type": "dev.knative.sources.ping",
            "ce-source": f"/apis/v1/namespaces/{source.namespace}/pingsources/{source.name}",
            "ce-time": self._now().astimezone(UTC).isoformat().replace("+00:00", "Z"),
            **self._sink.headers,
        }
        if source.content_type:
            headers["Content-Type"] = source.content_type
        try:
            answer = await http.post(
                self._sink.url, content=source.data, headers=headers, timeout=None
            )
        except httpx.HTTPError as error:
            logger.info("a tick of %s failed: %s", source.name, error)
            return
        if answer.is_error:
            logger.info("a tick of %s got status %s", source.name, answer.status_code)


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except ZoneInfoNotFoundError:
        raise ValueError(f"there is no time zone {name!r}") from None
