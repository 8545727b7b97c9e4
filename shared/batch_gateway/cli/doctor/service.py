"""Checks of the service on the cluster: what was deployed, and whether it fits together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batch_gateway.cli.cluster.kube import Cluster, Refusal
from batch_gateway.cli.cluster.secrets import decoded
from batch_gateway.cli.cluster.standing import State, standing
from batch_gateway.cli.doctor.findings import Finding, error, note, ok, warning
from batch_gateway.local.configuration import checked
from batch_gateway.local.errors import PlatformError
from batch_gateway.settings import Settings

Object = Mapping[str, Any]

SERVING = "serving.knative.dev/v1"
EVENTING = "eventing.knative.dev/v1"
SOURCES = "sources.knative.dev/v1"

_CLASS = "eventing.knative.dev/broker.class"
_MT = "MTChannelBasedBroker"
_ASYNC = "messaging.knative.dev/async-handler"
_MAX_SCALE = "autoscaling.knative.dev/max-scale"
_SHORTEST_KEY = 16  # characters


def variables_of(cluster: Cluster, services: Sequence[Object]) -> dict[str, str]:
    """The environment that the functions get from ConfigMaps and Secrets."""
    found: dict[str, str] = {}
    for service in services:
        for container in service["spec"]["template"]["spec"]["containers"]:
            for source in container.get("envFrom") or ():
                if "configMapRef" in source:
                    name = source["configMapRef"]["name"]
                    found |= (cluster.get("v1", "ConfigMap", name) or {}).get("data") or {}
                elif "secretRef" in source:
                    found |= decoded(cluster.get("v1", "Secret", source["secretRef"]["name"]))
    return {name: value for name, value in found.items() if name.startswith("BATCH_GATEWAY_")}


def check_objects(cluster: Cluster, services: Sequence[Object]) -> Iterator[Finding]:
    """Everything that has a status is ready."""
    objects = list(services)
    for version, kind in ((EVENTING, "Broker"), (EVENTING, "Trigger")):
        objects += cluster.list(version, kind)
    for version, kind in ((SOURCES, "PingSource"), (SOURCES, "SinkBinding"), ("batch/v1", "Job")):
        objects += cluster.list(version, kind)
    ready = 0
    for obj in objects:
        found = standing(obj)
        name = f"{obj['kind']} {obj['metadata']['name']}"
        where = f"kubectl -n {cluster.namespace} describe {obj['kind'].lower()}"
        if found.state is State.READY:
            ready += 1
        elif found.state is State.FAILED:
            yield error(f"{name}: {found.reason}", f"{where} {obj['metadata']['name']}")
        else:
            yield warning(f"{name} is not ready yet: {found.reason}", "look again in a minute")
    yield ok(f"{ready} of {len(objects)} Services, Triggers and the like are ready")
    if not cluster.list(SOURCES, "PingSource"):
        yield error("there is no PingSource: nobody wakes the janitor", "batch-gateway deploy")


def check_broker(cluster: Cluster) -> Iterator[Finding]:
    brokers = cluster.list(EVENTING, "Broker")
    if not brokers:
        yield error("there is no Broker", "batch-gateway deploy")
    for broker in brokers:
        annotations = broker["metadata"].get("annotations") or {}
        class_ = annotations.get(_CLASS) or _default_class(cluster)
        if class_ is None:
            yield note("the Broker's class is the cluster's default, which cannot be looked at")
        elif class_ == _MT:
            yield from _channel_based(annotations)
        else:
            yield ok(f"the Broker is of class {class_}")


def _channel_based(annotations: Mapping[str, str]) -> Iterator[Finding]:
    if annotations.get(_ASYNC) != "true":
        yield error(
            f"the Broker answers producers only after all subscribers: {_ASYNC} is not true",
            f'annotate it with {_ASYNC}: "true"',
        )
    yield warning(
        f"the Broker is a {_MT}: unless its channel is durable, events are lost when it restarts",
        "the janitor makes up for it within a minute, at worst ten; deploy --broker kafka or"
        " rabbitmq to have events kept",
    )


def _default_class(cluster: Cluster) -> str | None:
    """None: not known."""
    import yaml

    try:
        config = cluster.get("v1", "ConfigMap", "config-br-defaults", namespace="knative-eventing")
    except Refusal:
        return None
    text = ((config or {}).get("data") or {}).get("default-br-config")
    if text is None:
        return _MT
    defaults = yaml.safe_load(text) or {}
    found = (defaults.get("clusterDefault") or {}).get("brokerClass")
    return found if isinstance(found, str) else _MT


def check_settings(variables: Mapping[str, str]) -> Iterator[Finding]:
    """The functions can read their settings, and nothing secret is missing or known to all."""
    fix = "batch-gateway deploy --set GROUP.FIELD=VALUE"
    try:
        settings = checked(variables)
    except PlatformError as wrong:
        yield error(f"the functions will not start: {wrong}", fix)
        return
    if settings.auth.kind == "none":
        yield error(
            "auth.kind is none: functions that are reached from elsewhere do not start with it",
            f"{fix}, with auth.kind api-key, oidc or trusted-header",
        )
    keys = settings.events.signing_keys.get_secret_value()
    if len(keys) < _SHORTEST_KEY or "trial" in keys:
        yield error(
            "events.signing_keys is missing, short or public: anybody in the cluster could sign",
            "put a random one into the Secret batch-gateway-secrets, such as of `openssl rand"
            " -hex 32`",
        )
    if settings.metrics.token is None:
        yield warning(
            "metrics.token is not set: the API's /metrics is closed",
            "batch-gateway deploy adds one to the Secret",
        )
    if "for-trials-only" in settings.metadata.url.get_secret_value():
        yield warning("the database has the trial's public password", "use a managed database")
    yield ok("the functions' settings can be read")


def check_scales(settings: Settings, services: Sequence[Object]) -> Iterator[Finding]:
    """Activations, pods, budgets and time-outs fit each other."""
    executor = next((s for s in services if s["metadata"]["name"] == "executor"), None)
    if executor is None:
        yield error("there is no Service executor", "batch-gateway deploy")
        return
    template = executor["spec"]["template"]
    execution = settings.execution
    pods = int((template["metadata"].get("annotations") or {}).get(_MAX_SCALE, "0"))
    at_once = template["spec"].get("containerConcurrency", 0)
    if pods and at_once and execution.max_activations > pods * at_once:
        yield error(
            f"execution.max_activations is {execution.max_activations}, but only"
            f" {pods * at_once} fit into the executor's pods: the rest wait until they time out",
            f"raise {_MAX_SCALE} of the executor, or lower execution.max_activations",
        )
    elif pods and execution.max_activations < pods:
        yield note(
            f"the executor may have {pods} pods, but execution.max_activations uses"
            f" {execution.max_activations}",
            "raise execution.max_activations",
        )
    limit = template["spec"].get("timeoutSeconds", 300)
    if execution.hard_budget_s >= limit:
        yield error(
            f"execution.hard_budget_s is {execution.hard_budget_s:g}, but Knative cuts the"
            f" executor's request off after {limit} s",
            "lower execution.hard_budget_s, leaving a minute to hand work back",
        )
    else:
        yield ok("activations fit into the executor's pods and time-outs")
