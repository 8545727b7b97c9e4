"""The event sink: the broker of the settings or of the platform."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_gateway.core.batch_request import ExternalEvent
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.events import Event
from batch_gateway.settings import Settings
from batch_gateway.wiring.stores import signing_keys

if TYPE_CHECKING:
    from batch_gateway.adapters.events_http import HttpEventSink


def broker_url(settings: Settings) -> str | None:
    """The URL of the broker: ``events.sink``, else ``K_SINK``; None: neither is set."""
    return settings.events.sink or os.environ.get("K_SINK") or None


class BrokerSink:
    """An ``EventSink`` whose client is made when the first event is sent.

    A function therefore starts, and is ready, before the broker has an address. Until then each
    event raises Unavailable, and stays in the outbox.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: HttpEventSink | None = None

    async def send(self, event: Event) -> None:
        await self._opened().send(event)

    async def send_raw(self, event: ExternalEvent) -> None:
        await self._opened().send_raw(event)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _opened(self) -> "HttpEventSink":
        """Raises Unavailable when there is no broker."""
        if self._client is None:
            from batch_gateway.adapters.events_http import HttpEventSink

            url = broker_url(self._settings)
            if url is None:
                raise Unavailable("there is no broker yet: neither events.sink nor K_SINK is set")
            events = self._settings.events
            self._client = HttpEventSink(
                url,
                keys=signing_keys(self._settings),
                timeout=timedelta(seconds=events.timeout_s),
                token_file=events.token_file,
            )
        return self._client
