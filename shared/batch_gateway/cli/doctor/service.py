"""Checks of the service on the cluster: what was deployed, and whether it fits together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batch_gateway.cli.cluster import fixes
from batch_gateway.cli.cluster.build import SETTINGS
from batch_gateway.cli.cluster.digests import SINK
from batch_gateway.cli.cluster.kinds import WITH_STATUS
from batch_gateway.cli.cluster.kube import ClusterApiError, ClusterClient
from batch_gateway.cli.cluster.object_status import ObjectReadiness, object_status
from batch_gateway.cli.cluster.releases import Releases
from batch_gateway.cli.cluster.secrets import decoded
from batch_gateway.cli.doctor.findings import DoctorFinding, error, note, ok, warning
from batch_gateway.local.configuration import checked
from batch_gateway.local.errors import PlatformError
from batch_gateway.settings import Settings
from batch_gateway.settings.work import budget_problem

Object = Mapping[str, Any]

SERVING = "serving.knative.dev/v1"
EVENTING = "eventing.knative.dev/v1"
SOURCES = "sources.knative.dev/v1"

_CLASS = "eventing.knative.dev/broker.class"
_MT = "MTChannelBasedBroker"
_ASYNC = "messaging.knative.dev/async-handler"
_MAX_SCALE = "autoscaling.knative.dev/max-scale"
_LONGEST_REQUEST = "max-revision-timeout-seconds"
_LONGEST_REQUEST_S = 600  # unless the cluster says otherwise
_SHORTEST_KEY = 16  # characters


def variables_of(cluster: ClusterClient, services: Sequence[Object]) -> dict[str, str]:
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


def redeployed(cluster: ClusterClient, *words: str) -> str:
    """The command that deploys again with these further words, if one has deployed before."""
    try:
        known = Releases(cluster).last() is not None
    except ClusterApiError:
        known = False
    if not known:
        return "apply your overlay again" + (f", with {' '.join(words)}" if words else "")
    return fixes.deploy_again(cluster, *words)


def check_objects(cluster: ClusterClient, services: Sequence[Object]) -> Iterator[DoctorFinding]:
    """Everything that has a status is ready."""
    ready = total = 0
    for version, kind, spoken in WITH_STATUS:
        for obj in (
            services if (version, kind) == (SERVING, "Service") else cluster.list(version, kind)
        ):
            found, name = object_status(obj), obj["metadata"]["name"]
            total += 1
            if found.state is ObjectReadiness.READY:
                ready += 1
                continue
            fix = fixes.describe(cluster, spoken, name)
            if found.state is ObjectReadiness.FAILED:
                yield error(f"{kind} {name}: {found.reason}", fix)
            else:
                yield warning(f"{kind} {name} is not ready yet: {found.reason}", fix)
    yield ok(f"{ready} of {total} Services, Triggers and the like are ready")
    if not cluster.list(SOURCES, "PingSource"):
        yield error("there is no PingSource: nothing wakes the janitor", redeployed(cluster))


def check_broker(cluster: ClusterClient, variables: Mapping[str, str]) -> Iterator[DoctorFinding]:
    brokers = cluster.list(EVENTING, "Broker")
    if not brokers:
        yield error("there is no Broker", redeployed(cluster))
    for broker in brokers:
        annotations = broker["metadata"].get("annotations") or {}
        class_ = annotations.get(_CLASS) or _default_class(cluster)
        if class_ is None:
            yield note("the Broker's class is the cluster's default, which cannot be looked at")
        elif class_ == _MT:
            yield from _channel_based(cluster, broker)
        else:
            yield ok(f"the Broker is of class {class_}")
    yield from _known_address(cluster, brokers, variables)


def _known_address(
    cluster: ClusterClient, brokers: Sequence[Object], variables: Mapping[str, str]
) -> Iterator[DoctorFinding]:
    """Functions send events to the Broker that is there."""
    told = variables.get(SINK)
    statuses = [broker.get("status") or {} for broker in brokers]
    addresses = [str(status["address"]["url"]) for status in statuses if "address" in status]
    if told is None and not cluster.list(SOURCES, "SinkBinding"):
        what = "the functions do not know the broker: events.sink is not set, and no SinkBinding is"
        yield error(f"{what} there", redeployed(cluster))
    elif told is not None and addresses and told not in addresses:
        what = f"the functions send events to {told}, but the Broker is at {addresses[0]}"
        yield warning(what, redeployed(cluster))


def _channel_based(cluster: ClusterClient, broker: Object) -> Iterator[DoctorFinding]:
    if (broker["metadata"].get("annotations") or {}).get(_ASYNC) != "true":
        name = broker["metadata"]["name"]
        yield error(
            f"the Broker answers producers only after all subscribers: {_ASYNC} is not true",
            fixes.annotate_broker(cluster, name, _ASYNC, "true"),
        )
    yield warning(
        f"the Broker is a {_MT}: unless its channel is durable, events are lost when it restarts",
        "the janitor sends them again within a minute, at worst ten; a Broker that keeps events is"
        " of class Kafka or RabbitMQBroker, which is chosen when it is created",
    )


def _default_class(cluster: ClusterClient) -> str | None:
    """None: not known."""
    import yaml

    try:
        config = cluster.get("v1", "ConfigMap", "config-br-defaults", namespace="knative-eventing")
    except ClusterApiError:
        return None
    text = ((config or {}).get("data") or {}).get("default-br-config")
    if text is None:
        return _MT
    defaults = yaml.safe_load(text) or {}
    found = (defaults.get("clusterDefault") or {}).get("brokerClass")
    return found if isinstance(found, str) else _MT


def check_settings(cluster: ClusterClient, variables: Mapping[str, str]) -> Iterator[DoctorFinding]:
    """The functions can read their settings, and nothing secret is missing or known to all."""
    try:
        settings = checked(variables, drivers=False)
    except PlatformError as wrong:
        fix = fixes.edit_config_map(cluster, SETTINGS)
        yield error(f"functions that read it will not start: {wrong}", fix)
        return
    if settings.auth.kind == "none":
        yield error(
            "auth.kind is none: functions that are reached from elsewhere do not start with it",
            redeployed(cluster, "--set auth.kind=api-key"),
        )
    keys = settings.events.signing_keys.get_secret_value()
    if len(keys) < _SHORTEST_KEY or "trial" in keys:
        yield error(
            "events.signing_keys is missing, short or public: anything in the cluster could sign",
            redeployed(cluster, '--set events.signing_keys="$(openssl rand -hex 32)"'),
        )
    if settings.metrics.token is None:
        what = "metrics.token is not set: the API's /metrics is closed"
        yield warning(what, redeployed(cluster))
    if "for-trials-only" in settings.metadata.url.get_secret_value():
        yield warning("the database has the trial's public password", "use a managed database")
    yield ok("the functions' settings can be read")


def check_scales(
    cluster: ClusterClient, settings: Settings, services: Sequence[Object]
) -> Iterator[DoctorFinding]:
    """Activations, pods, budgets and time-outs fit each other."""
    executor = next((s for s in services if s["metadata"]["name"] == "executor"), None)
    if executor is None:
        yield error("there is no Service executor", redeployed(cluster))
        return
    template = executor["spec"]["template"]
    execution = settings.execution
    pods = int((template["metadata"].get("annotations") or {}).get(_MAX_SCALE, "0"))
    at_once = template["spec"].get("containerConcurrency", 0)
    if pods and at_once and execution.max_activations > pods * at_once:
        yield error(
            f"execution.max_activations is {execution.max_activations}, but only"
            f" {pods * at_once} fit into the executor's pods: the rest wait until they time out",
            redeployed(cluster, f"--set execution.max_activations={pods * at_once}"),
        )
    elif pods and execution.max_activations < pods:
        yield note(
            f"the executor may have {pods} pods, but execution.max_activations uses"
            f" {execution.max_activations}",
            redeployed(cluster, f"--set execution.max_activations={pods}"),
        )
    limit = template["spec"].get("timeoutSeconds", 300)
    yield from _check_longest_request(cluster, limit)
    longest = settings.inference.timeout_s
    named = "timeout_s" in settings.inference.model_fields_set and not settings.inference.routes
    if named and (wrong := budget_problem(execution, longest)) is not None:
        yield error(wrong, "add the component long-calls to your overlay")
    if execution.hard_budget_s >= limit:
        yield error(
            f"execution.hard_budget_s is {execution.hard_budget_s:g}, but Knative cuts the"
            f" executor's request off after {limit} s",
            # A minute is left to hand work back.
            redeployed(cluster, f"--set execution.hard_budget_s={max(limit - 60, 1)}"),
        )
    else:
        yield ok("activations fit into the executor's pods and time-outs")


def _check_longest_request(cluster: ClusterClient, limit: int) -> Iterator[DoctorFinding]:
    """The cluster must allow requests that take ``limit`` seconds."""
    if limit <= _LONGEST_REQUEST_S:
        return
    try:
        config = cluster.get("v1", "ConfigMap", "config-defaults", namespace="knative-serving")
    except ClusterApiError as refusal:
        yield note(f"Knative's longest request cannot be looked at: {refusal}")
        return
    data = (config or {}).get("data") or {}
    spelled = data.get(_LONGEST_REQUEST, str(_LONGEST_REQUEST_S))
    if not spelled.isdecimal() or int(spelled) < limit:
        yield error(
            f"the executor's requests may take {limit} s, but Knative's {_LONGEST_REQUEST} is"
            f" {spelled}",
            fixes.set_for_knative(cluster, "config-defaults", _LONGEST_REQUEST, str(limit)),
        )
