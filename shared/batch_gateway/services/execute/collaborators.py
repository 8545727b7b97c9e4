"""The dependencies of an executor, grouped by kind."""

from dataclasses import dataclass
from datetime import timedelta

from batch_gateway.core.prices import PriceList
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.engine_metrics import EngineMetrics
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.model_client import ModelClient
from batch_gateway.ports.scratch import ScratchStore
from batch_gateway.services.event_publisher import ActivationTrigger, EventPublisher
from batch_gateway.services.header_passthrough import HeaderPassthrough
from batch_gateway.services.routing import Routes
from batch_gateway.services.termination import Termination
from batch_gateway.services.webhooks.outbox import WebhookOutbox
from batch_gateway.settings import Execution, Queue, Retry, Watching


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    metadata: MetadataStore
    files: FileStore
    scratch: ScratchStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """How models are called."""

    client: ModelClient
    metrics: EngineMetrics
    routes: Routes
    header_passthrough: HeaderPassthrough | None  # None: no batch has sealed headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What an executor tells other functions, and how it ends batches."""

    publisher: EventPublisher
    activation_trigger: ActivationTrigger
    termination: Termination
    webhook_outbox: WebhookOutbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """Settings, and the clock that calendars are read by."""

    execution: Execution
    queue: Queue
    retry: Retry
    watching: Watching
    prices: PriceList
    clock: Clock
    spans: int = 0  # calls of one shard that get a span at most
    output_expiry: timedelta | None  # of result files whose batch says nothing; None: they are kept
