"""Resources that all functions share: settings, stores and the event sink."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property

from batch_gateway.core.errors import Unavailable
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.event_sink import EventSink
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.routing import RouteProvider
from batch_gateway.services.batches.dependents import DependentBatches
from batch_gateway.services.collaborators import EventSenders, Stores
from batch_gateway.services.event_publisher import ActivationTrigger, EventPublisher, JanitorTrigger
from batch_gateway.services.full_stores import FullStoreReporter
from batch_gateway.services.header_passthrough import HeaderPassthrough
from batch_gateway.services.maintenance.outbox_relay import OutboxRelay
from batch_gateway.services.termination import Termination
from batch_gateway.services.webhooks.outbox import WebhookOutbox
from batch_gateway.settings import Settings
from batch_gateway.web.readiness import ReadinessCheck
from batch_gateway.wiring.routes import open_header_passthrough, open_routes
from batch_gateway.wiring.sink import BrokerSink
from batch_gateway.wiring.stores import open_files, open_metadata, open_scratch_server


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class FunctionRuntime:
    """What all functions share: settings, stores and the way to the broker."""

    def __init__(
        self,
        settings: Settings,
        metadata: MetadataStore,
        files: FileStore,
        coordination: CoordinationStore,
        sink: EventSink,
        *,
        clock: Clock | None = None,
    ) -> None:
        """``clock`` None: the system's."""
        self.settings = settings
        self.metadata = metadata
        self.files = files
        self.coordination = coordination
        self.sink = sink
        self.clock: Clock = clock or SystemClock()
        self.janitor_trigger = JanitorTrigger(coordination, sink)
        self.publisher = EventPublisher(metadata.outbox, sink)
        self.dependents = DependentBatches(metadata.batches, self.publisher)
        self.webhook_outbox = WebhookOutbox(metadata.webhooks, sink, self.clock, self.dependents)
        self.superseded = asyncio.Event()
        """Set when this process runs on an old configuration (``wiring.configuration_watch``)."""
        self.ready = ReadinessCheck(self._check, settings.probes)

    # Made when they are first used: a function has the settings of those that it uses.

    @cached_property
    def outbox_relay(self) -> OutboxRelay:
        patience = timedelta(seconds=self.settings.sweep.unsent_s)
        return OutboxRelay(
            self.metadata, self.publisher, self.janitor_trigger, self.clock, patience=patience
        )

    @cached_property
    def activation_trigger(self) -> ActivationTrigger:
        maximum = self.settings.execution.max_activations
        return ActivationTrigger(self.coordination.activations, self.sink, maximum)

    @cached_property
    def termination(self) -> Termination:
        return Termination(
            metadata=self.metadata,
            files=self.files,
            coordination=self.coordination,
            publisher=self.publisher,
            clock=self.clock,
            fence=timedelta(seconds=self.settings.execution.fence_s),
        )

    @property
    def stores(self) -> Stores:
        return Stores(metadata=self.metadata, files=self.files, coordination=self.coordination)

    @property
    def events(self) -> EventSenders:
        return EventSenders(
            publisher=self.publisher,
            activation_trigger=self.activation_trigger,
            webhook_outbox=self.webhook_outbox,
        )

    @cached_property
    def routes(self) -> RouteProvider:
        """Raises ValueError when the routing file cannot be used."""
        return open_routes(self.settings)

    @cached_property
    def header_passthrough(self) -> HeaderPassthrough | None:
        """None: no header is carried on."""
        return open_header_passthrough(self.settings)

    async def _check(self) -> None:
        """Raise Unavailable, naming it, when something that we need does not answer."""
        for name, store in (
            ("metadata", self.metadata),
            ("scratch", self.coordination),
            ("files", self.files),
        ):
            try:
                await store.check()
            except Unavailable as error:
                raise type(error)(f"{name}: {error}") from error


@asynccontextmanager
async def open_runtime(settings: Settings) -> AsyncIterator[FunctionRuntime]:
    """Everything that all functions share, open as long as the context is."""
    async with AsyncExitStack() as stack:
        full = FullStoreReporter()
        metadata = await open_metadata(settings, on_full=full.reporter("metadata"))
        stack.push_async_callback(metadata.close)
        files = open_files(settings, on_full=full.reporter("files"))
        stack.push_async_callback(files.close)
        coordination = open_scratch_server(settings)
        stack.push_async_callback(coordination.close)
        await stack.enter_async_context(full.published(coordination))
        sink = BrokerSink(settings)
        stack.push_async_callback(sink.close)
        yield FunctionRuntime(settings, metadata, files, coordination, sink)
