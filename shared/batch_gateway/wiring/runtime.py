"""What all functions share: settings, stores and the way to the broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property

from batch_gateway.core.errors import Unavailable
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.event_sink import EventSink
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.scratch import Scratch
from batch_gateway.services.announce import Announcer, Caller, Waker
from batch_gateway.services.batches.chain import Followers
from batch_gateway.services.endings import Endings
from batch_gateway.services.fullness import FullStores
from batch_gateway.services.passing import PassedHeaders
from batch_gateway.services.routing import Routes
from batch_gateway.services.upkeep.courier import Courier
from batch_gateway.services.webhooks.notices import Notices
from batch_gateway.settings import Settings
from batch_gateway.web.readiness import Readiness
from batch_gateway.wiring.routes import open_passing, open_routes
from batch_gateway.wiring.sink import BrokerSink
from batch_gateway.wiring.stores import open_files, open_metadata, open_scratch_server


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Runtime:
    """What all functions share: settings, stores and the way to the broker."""

    def __init__(
        self,
        settings: Settings,
        metadata: MetadataStore,
        files: FileStore,
        scratch: Scratch,
        sink: EventSink,
        *,
        clock: Clock | None = None,
    ) -> None:
        """``clock`` None: the system's."""
        self.settings = settings
        self.metadata = metadata
        self.files = files
        self.scratch = scratch
        self.sink = sink
        self.clock: Clock = clock or SystemClock()
        self.caller = Caller(scratch, sink)
        self.announcer = Announcer(metadata.outbox, sink, self.caller)
        self.followers = Followers(metadata.batches, self.announcer, self.clock)
        self.notices = Notices(metadata.webhooks, sink, self.clock, self.followers)
        self.superseded = asyncio.Event()
        """Set when this process runs on an old configuration (``wiring.configuration_watch``)."""
        self.ready = Readiness(self._check, settings.probes)

    # Made when they are first used: a function has the settings of those that it uses.

    @cached_property
    def courier(self) -> Courier:
        patience = timedelta(seconds=self.settings.sweep.unsent_s)
        return Courier(self.metadata, self.announcer, self.caller, self.clock, patience=patience)

    @cached_property
    def waker(self) -> Waker:
        maximum = self.settings.execution.max_activations
        return Waker(self.scratch.activations, self.sink, maximum)

    @cached_property
    def endings(self) -> Endings:
        return Endings(
            metadata=self.metadata,
            files=self.files,
            scratch=self.scratch,
            announcer=self.announcer,
            clock=self.clock,
            fence=timedelta(seconds=self.settings.execution.fence_s),
        )

    @cached_property
    def routes(self) -> Routes:
        """Raises ValueError when the routing file cannot be used."""
        return open_routes(self.settings)

    @cached_property
    def passing(self) -> PassedHeaders | None:
        """None: no header is carried on."""
        return open_passing(self.settings)

    async def _check(self) -> None:
        """Raise Unavailable, naming it, when something that we need does not answer."""
        for name, store in (
            ("metadata", self.metadata),
            ("scratch", self.scratch),
            ("files", self.files),
        ):
            try:
                await store.check()
            except Unavailable as error:
                raise type(error)(f"{name}: {error}") from error


@asynccontextmanager
async def open_runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """Everything that all functions share, open as long as the context is."""
    async with AsyncExitStack() as stack:
        full = FullStores()
        metadata = await open_metadata(settings, on_full=full.reporter("metadata"))
        stack.push_async_callback(metadata.close)
        files = open_files(settings, on_full=full.reporter("files"))
        stack.push_async_callback(files.close)
        scratch = open_scratch_server(settings)
        stack.push_async_callback(scratch.close)
        await stack.enter_async_context(full.published(scratch))
        sink = BrokerSink(settings)
        stack.push_async_callback(sink.close)
        yield Runtime(settings, metadata, files, scratch, sink)
