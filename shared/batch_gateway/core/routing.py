"""Routing table: which endpoints serve a model, with their limits; plain values.

A *name* is what clients write. It is a model, an alias of one, a LoRA adapter of one, or, where a
deployment has a default, any other name. A model is served by one or several *replicas*; each is an
endpoint, and what the model is called there. A *pool* is what shares slots: one endpoint and one
model, together with that model's aliases and adapters, because they run on the same engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from batch_gateway.core.breaker import BreakerRules
from batch_gateway.core.calendar import EndpointCalendar
from batch_gateway.core.retry import RetryRules

_ANY = 1_000_000_000  # calls at once: more than there can be


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """TLS of an endpoint: how it is authenticated, and the client certificate for it."""

    ca: Path | None = None  # authorities in PEM; None: the system's
    certificate: Path | None = None  # ours, with its chain, in PEM; None: we have none
    key: Path | None = None  # None: it is in ``certificate``
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePriority:
    """The ``priority`` that engines with priority scheduling read from a request's body.

    vLLM serves the lowest number first, SGLang the highest: ``sign`` is 1 or -1. Batch work comes
    ``base`` behind interactive requests, which have 0; the batch's own priority is added.
    """

    sign: int
    base: int = 100

    def value(self, of_batch: int) -> int:
        """For a batch of priority ``of_batch`` (0 first, 9 last)."""
        return self.sign * (self.base + of_batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEndpoint:
    """One OpenAI-compatible server. ``None`` of a rule: the deployment's setting holds."""

    name: str
    url: str  # without /v1 and without a trailing slash; a line's url is appended
    timeout: timedelta  # of one call
    breaker: BreakerRules
    headers: Mapping[str, str] = field(default_factory=dict)  # of every call; no secrets
    key_file: Path | None = None  # the API key is this file's content
    key_variable: str | None = None  # or that of this environment variable
    tls: TlsOptions = field(default_factory=TlsOptions)
    most: int | None = None  # calls at once, of all executors
    calendar: EndpointCalendar | None = None  # None: always the same
    metrics_url: str | None = None  # Prometheus text; None: /metrics under ``url``
    objective: str | None = None  # x-gateway-inference-objective
    priority: EnginePriority | None = None  # None: the body's priority is left alone
    retry: RetryRules | None = None

    @property
    def metrics(self) -> str:
        """Where its metrics are, if it has any."""
        return self.metrics_url or f"{self.url}/metrics"

    def ceiling(self, at: datetime, usual: int) -> int:
        """Calls at once at the instant ``at``, where the deployment allows ``usual``."""
        most = usual if self.most is None else min(self.most, usual)
        return most if self.calendar is None else self.calendar.ceiling(at, most)

    def bound(self, at: datetime) -> int | None:
        """The same without the deployment's limit; None: no bound of its own."""
        ceiling = self.ceiling(at, _ANY)
        return None if ceiling == _ANY else ceiling

    def next_change(self, after: datetime, usual: int) -> datetime | None:
        """When ``ceiling`` will be another; None: not within a year."""
        most = usual if self.most is None else min(self.most, usual)
        return None if self.calendar is None else self.calendar.next_change(after, most)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReplica:
    """One endpoint that serves a model."""

    endpoint: ModelEndpoint
    model: str  # what the endpoint calls the model whose slots are shared
    served: str  # what a request must name: ``model``, or an adapter of it
    weight: int = 1  # its share of the calls when several replicas have room

    @property
    def pool(self) -> str:
        return f"{self.endpoint.name}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRoute:
    replicas: tuple[ModelReplica, ...]
    most: int | None = None  # calls at once, over all replicas and executors; None: any number


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarBlockedModels:
    """Names that no calendar allows a call for."""

    names: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None  # not None: every name but these, too

    def __bool__(self) -> bool:
        return bool(self.names) or self.only is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """All routes of a deployment at one moment."""

    models: Mapping[
        str, ModelRoute
    ]  # by every name that clients may write, aliases and adapters too
    default: tuple[ModelEndpoint, ...] = ()  # serve every other name; empty: none is served

    @property
    def names(self) -> frozenset[str]:
        """Names that clients may write; empty: any."""
        return frozenset() if self.default else frozenset(self.models)

    def model(self, name: str) -> ModelRoute | None:
        """None when it is not served."""
        found = self.models.get(name)
        if found is None and self.default:
            found = ModelRoute(
                replicas=tuple(
                    ModelReplica(endpoint=endpoint, model=name, served=name)
                    for endpoint in self.default
                )
            )
        return found

    def replicas(self, name: str) -> tuple[ModelReplica, ...]:
        """The replicas that serve ``name``; empty when it is not served."""
        found = self.model(name)
        return () if found is None else found.replicas

    def ceiling(self, name: str, at: datetime, usual: int) -> int:
        """Calls of model ``name`` at once at the instant ``at``, over all its replicas.

        ``usual`` is what the deployment allows one pool; 0: it must wait, or it is not served.
        """
        found = self.model(name)
        if found is None:
            return 0
        total = sum(replica.endpoint.ceiling(at, usual) for replica in found.replicas)
        return total if found.most is None else min(total, found.most)

    def shut(self, at: datetime) -> "CalendarBlockedModels":
        """Names that must wait at the instant ``at``."""
        names = [
            name
            for name, model in self.models.items()
            if all(replica.endpoint.bound(at) == 0 for replica in model.replicas)
        ]
        others = bool(self.default) and all(one.bound(at) == 0 for one in self.default)
        return CalendarBlockedModels(
            names=tuple(names),
            only=tuple(sorted(set(self.models) - set(names))) if others else None,
        )

    def next_change(self, name: str, after: datetime, usual: int) -> datetime | None:
        """When that ceiling may be another; None: not within a year."""
        changes = (replica.endpoint.next_change(after, usual) for replica in self.replicas(name))
        return min((change for change in changes if change is not None), default=None)
