"""The Kubernetes resources that the platform supports, reduced to the fields that it uses.

Defaults are Knative's own (config-autoscaler, config-defaults), so a manifest means here what it
means on a cluster. Fields that only a cluster can honour (images, resources, security contexts,
volumes) are not read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from batch_gateway.local.durations import go_seconds, iso_seconds

_AUTOSCALING = "autoscaling.knative.dev/"
#: Which Services a request will lead to: the embedded platform starts them at once.
_START_NEXT = "batchgateway.dev/start-next"
_BROKER_CLASS = "eventing.knative.dev/broker.class"
_DEFAULT_BROKER_CLASS = "MTChannelBasedBroker"
_DEFAULT_TIMEOUT_S = 300.0
_DEFAULT_CONCURRENCY = 100.0  # the autoscaler's target where concurrency is not limited


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingBounds:
    """How many replicas a Service has, and how fast it loses them. Durations in seconds."""

    target: float  # requests in flight that one replica is meant for
    min_scale: int
    max_scale: int  # 0: as many as needed
    window_s: float
    scale_down_delay_s: float
    retention_s: float  # how much longer the last replica stays


@dataclass(frozen=True, slots=True, kw_only=True)
class KnativeService:
    """A Knative Service: a command that listens on ``PORT``, started on demand."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    command: Sequence[str]
    env: Mapping[str, str]
    public: bool
    concurrency: int  # requests in flight in one replica at most; 0: no limit
    timeout_s: float
    response_start_timeout_s: float
    ready_path: str | None  # None: ready once the port is open
    start_next: Mapping[str, Sequence[str]]
    """A request, such as ``POST /v1/batches`` -> Services that will get requests by it."""
    scaling: ScalingBounds

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}.svc.cluster.local"

    def revision(self, generation: int) -> str:
        """The name of its revision number ``generation``, counted from 1."""
        return f"{self.name}-{generation:05d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where events go: a Service, a Broker or an absolute URL."""

    kind: str  # "Service", "Broker" or "URL"
    namespace: str = ""
    name: str = ""
    uri: str = ""  # absolute with kind URL, else relative to the resource's address

    def resolve(self, base: str) -> str:
        return urljoin(base, self.uri) if self.uri else base


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySpec:
    """How often and how patiently an event is delivered; the cluster's default is config-br's."""

    retry: int = 10
    exponential: bool = True
    backoff_s: float = 0.2
    timeout_s: float | None = None  # None: as long as the subscriber's own limit
    dead_letter: Destination | None = None  # None: dropped, with a line in the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    name: str
    namespace: str
    class_: str = _DEFAULT_BROKER_CLASS
    dead_letter: Destination | None = None  # None: it has none

    @property
    def waits_for_dead_letter(self) -> bool:
        """Whether it gets its address only once its dead letter sink has one.

        The channel of the MT class, and the Kafka class, resolve the sink first; RabbitMQ's class
        sets its address first.
        """
        return self.class_ != "RabbitMQBroker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    name: str
    namespace: str
    broker: str
    filters: Sequence[Mapping[str, Any]]  # all must match; the dialects of Trigger's filters
    subscriber: Destination
    delivery: DeliverySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PingSource:
    name: str
    namespace: str
    schedule: str
    timezone: str | None  # None: the machine's
    content_type: str | None
    data: str
    sink: Destination


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkBinding:
    """Gives every Service that it selects the address of ``sink`` as ``K_SINK``."""

    namespace: str
    subject: str | None  # None: by labels
    labels: Mapping[str, str]
    sink: Destination

    def selects(self, service: KnativeService) -> bool:
        if service.namespace != self.namespace:
            return False
        if self.subject is not None:
            return service.name == self.subject
        return self.labels.items() <= service.labels.items()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedManifests:
    """The content of the manifests."""

    services: Sequence[KnativeService] = ()
    brokers: Sequence[Broker] = ()
    triggers: Sequence[Trigger] = ()
    pings: Sequence[PingSource] = ()
    bindings: Sequence[SinkBinding] = ()
    settings: Mapping[str, str] = field(default_factory=dict)  # of the Services' ConfigMaps


def service(
    document: Mapping[str, Any], config_maps: Mapping[str, Mapping[str, str]]
) -> KnativeService:
    metadata, template = document["metadata"], document["spec"]["template"]
    spec = template["spec"]
    (container,) = spec["containers"]
    labels = metadata.get("labels") or {}
    timeout_s = float(spec.get("timeoutSeconds") or _DEFAULT_TIMEOUT_S)
    concurrency = int(spec.get("containerConcurrency") or 0)
    probe = container.get("readinessProbe") or {}
    return KnativeService(
        name=metadata["name"],
        namespace=metadata["namespace"],
        labels=labels,
        command=[*container["command"], *(container.get("args") or ())],
        env=_environment(container, config_maps),
        public=labels.get("networking.knative.dev/visibility") != "cluster-local",
        concurrency=concurrency,
        timeout_s=timeout_s,
        response_start_timeout_s=float(
            spec.get("responseStartTimeoutSeconds") or min(_DEFAULT_TIMEOUT_S, timeout_s)
        ),
        start_next=_start_next((metadata.get("annotations") or {}).get(_START_NEXT, "")),
        ready_path=probe["httpGet"].get("path", "/") if "httpGet" in probe else None,
        scaling=_scaling(template["metadata"].get("annotations") or {}, concurrency),
    )


def _start_next(annotation: str) -> Mapping[str, Sequence[str]]:
    """Of lines such as ``POST /v1/batches: planner, executor``."""
    found = {}
    for line in annotation.splitlines():
        request, _, names = line.partition(":")
        if not names.strip():
            raise ValueError(f"{_START_NEXT}: {line!r}")
        found[request.strip()] = [name.strip() for name in names.split(",")]
    return found


def _environment(
    container: Mapping[str, Any], config_maps: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """ConfigMaps first, then the container's own variables. Secrets exist on a cluster only."""
    environment: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        if "configMapRef" in source:
            environment |= config_maps[source["configMapRef"]["name"]]
    for variable in container.get("env") or ():
        if "value" in variable:
            environment[variable["name"]] = str(variable["value"])
    return environment


def _scaling(annotations: Mapping[str, str], concurrency: int) -> ScalingBounds:
    def value(name: str, default: str) -> str:
        return annotations.get(_AUTOSCALING + name, default)

    limit = float(concurrency or _DEFAULT_CONCURRENCY)
    wanted = min(float(value("target", str(limit))), limit)
    return ScalingBounds(
        target=wanted * float(value("target-utilization-percentage", "70")) / 100,
        min_scale=int(value("min-scale", "0")),
        max_scale=int(value("max-scale", "0")),
        window_s=go_seconds(value("window", "60s")),
        scale_down_delay_s=go_seconds(value("scale-down-delay", "0s")),
        retention_s=go_seconds(value("scale-to-zero-pod-retention-period", "0s")),
    )


def destination(value: Mapping[str, Any], namespace: str) -> Destination:
    reference = value.get("ref")
    if reference is None:
        return Destination(kind="URL", uri=value["uri"])
    return Destination(
        kind=reference["kind"],
        namespace=reference.get("namespace", namespace),
        name=reference["name"],
        uri=value.get("uri") or "",
    )


def delivery(value: Mapping[str, Any] | None, namespace: str) -> DeliverySpec:
    """A Trigger's or Broker's delivery; an absent one is the cluster's default."""
    if not value:
        return DeliverySpec()
    dead_letter = value.get("deadLetterSink")
    return DeliverySpec(
        retry=int(value.get("retry", 0)),
        exponential=value.get("backoffPolicy", "exponential") == "exponential",
        # Without a delay Knative retries at once, without any pause.
        backoff_s=iso_seconds(value["backoffDelay"]) if "backoffDelay" in value else 0.0,
        timeout_s=iso_seconds(value["timeout"]) if "timeout" in value else None,
        dead_letter=destination(dead_letter, namespace) if dead_letter else None,
    )


def broker(document: Mapping[str, Any]) -> Broker:
    metadata, spec = document["metadata"], document.get("spec") or {}
    namespace = metadata["namespace"]
    return Broker(
        name=metadata["name"],
        namespace=namespace,
        class_=(metadata.get("annotations") or {}).get(_BROKER_CLASS, _DEFAULT_BROKER_CLASS),
        dead_letter=delivery(spec.get("delivery"), namespace).dead_letter,
    )


def trigger(document: Mapping[str, Any], of_broker: Mapping[str, Any] | None) -> Trigger:
    """A Trigger; ``of_broker`` is its Broker's delivery, which any of its own replaces wholly."""
    metadata, spec = document["metadata"], document["spec"]
    filters = spec.get("filters")
    if filters is None:
        exact = (spec.get("filter") or {}).get("attributes") or {}
        filters = [{"attributes": exact}]
    return Trigger(
        name=metadata["name"],
        namespace=metadata["namespace"],
        broker=spec["broker"],
        filters=filters,
        subscriber=destination(spec["subscriber"], metadata["namespace"]),
        delivery=delivery(spec.get("delivery") or of_broker, metadata["namespace"]),
    )


def ping_source(document: Mapping[str, Any]) -> PingSource:
    metadata, spec = document["metadata"], document["spec"]
    return PingSource(
        name=metadata["name"],
        namespace=metadata["namespace"],
        schedule=spec.get("schedule", "* * * * *"),
        timezone=spec.get("timezone"),
        content_type=spec.get("contentType"),
        data=spec.get("data", ""),
        sink=destination(spec["sink"], metadata["namespace"]),
    )


def sink_binding(document: Mapping[str, Any]) -> SinkBinding:
    namespace, spec = document["metadata"]["namespace"], document["spec"]
    subject = spec["subject"]
    return SinkBinding(
        namespace=namespace,
        subject=subject.get("name"),
        labels=(subject.get("selector") or {}).get("matchLabels") or {},
        sink=destination(spec["sink"], namespace),
    )
