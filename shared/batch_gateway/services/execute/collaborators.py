"""Dependencies of an executor, grouped by kind."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from batch_gateway.core.prices import PriceList
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.engine_metrics import EngineMetrics
from batch_gateway.ports.model_client import ModelClient
from batch_gateway.ports.routing import RouteProvider
from batch_gateway.services.collaborators import EventSenders, Stores
from batch_gateway.services.execute.attempt import ModelCaller
from batch_gateway.services.execute.circuit import EndpointCircuits
from batch_gateway.services.execute.engine_monitor import EngineMonitors
from batch_gateway.services.header_passthrough import HeaderPassthrough
from batch_gateway.services.progress_events import BatchObserver
from batch_gateway.services.termination import Termination
from batch_gateway.settings import (
    EngineMonitorSettings,
    ExecutionSettings,
    QueueSettings,
    RetrySettings,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineClients:
    """How models are called."""

    client: ModelClient
    metrics: EngineMetrics
    routes: RouteProvider
    header_passthrough: HeaderPassthrough | None  # None: no batch has sealed headers


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorPolicies:
    """Settings, and the clock that calendars are read by."""

    execution: ExecutionSettings
    queue: QueueSettings
    retry: RetrySettings
    watching: EngineMonitorSettings
    prices: PriceList
    clock: Clock
    spans: int = 0  # calls of one shard that get a span at most
    output_expiry: timedelta | None  # of result files whose batch sets none; None: they are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorDependencies:
    """What an executor works with; each of its activations gets all of it."""

    stores: Stores
    engines: EngineClients
    events: EventSenders
    termination: Termination
    policies: ExecutorPolicies


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessResources:
    """What the activations of one process share."""

    attempts: ModelCaller
    circuits: EndpointCircuits
    monitors: EngineMonitors
    watches: BatchObserver  # look at a batch when results of it were stored


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequests:
    """Reasons of a process to lease no more shards."""

    stopping: asyncio.Event  # SIGTERM: calls get ``execution.term_grace_s``
    superseded: asyncio.Event  # the configuration is old: calls in flight end as at the soft end

    @property
    def any(self) -> bool:
        return self.stopping.is_set() or self.superseded.is_set()
