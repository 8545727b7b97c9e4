"""Services, their annotations, traffic and labels; DomainMappings and their claims."""

from collections.abc import Iterator, Mapping, Set
from typing import Any

from manifests.admission import names
from manifests.admission.pods import pod

_AUTOSCALING = "autoscaling.knative.dev/"
_KPA, _HPA = "kpa.autoscaling.knative.dev", "hpa.autoscaling.knative.dev"
_MAX_TIMEOUT_S = 600  # config-defaults: max-revision-timeout-seconds
_MAX_CONCURRENCY = 1000
_HOUR_S = 3600
_REVISION = {
    "containerConcurrency",
    "timeoutSeconds",
    "responseStartTimeoutSeconds",
    "idleTimeoutSeconds",
    "loadBalancingPolicy",
}
_POLICIES = {"random-choice-2", "round-robin", "least-connections", "first-available"}
_QUEUE_RESOURCES = {
    f"queue.sidecar.serving.knative.dev/{kind}-resource-{bound}"
    for kind in ("cpu", "memory", "ephemeral-storage")
    for bound in ("request", "limit")
}

Fields = Mapping[str, Any]


def service(document: Fields, features: Set[str]) -> Iterator[str]:
    metadata, spec = document["metadata"], document["spec"]
    if not names.is_label_1035(metadata["name"]):
        yield f"metadata.name: {metadata['name']!r} is not a DNS-1035 label"
    yield from _labels(metadata.get("labels") or {})
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        if key.startswith("autoscaling.knative.dev"):
            yield f"metadata.annotations.{key}: belongs under spec.template"
    yield from _rollout(annotations)
    template = spec.get("template") or {}
    yield from _template(metadata["name"], template, features)
    yield from _traffic(spec.get("traffic"))


def _labels(labels: Fields) -> Iterator[str]:
    for key, value in labels.items():
        if key == "networking.knative.dev/visibility":
            if value != "cluster-local":
                yield f"metadata.labels.{key}: must be cluster-local, not {value!r}"
        elif key.startswith("serving.knative.dev/"):
            yield f"metadata.labels.{key}: is Knative's own"


def _rollout(annotations: Fields) -> Iterator[str]:
    key = "serving.knative.dev/rollout-duration"
    if value := annotations.get(key):
        seconds = names.go_seconds(value)
        if seconds is None or seconds < 0 or seconds != int(seconds):
            yield f"metadata.annotations.{key}: {value!r} is not a duration of whole seconds"


def _template(service_name: str, template: Fields, features: Set[str]) -> Iterator[str]:
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    path = "spec.template"
    if name := metadata.get("name"):
        if not names.is_label_1035(name):
            yield f"{path}.metadata.name: {name!r} is not a DNS-1035 label"
        if not name.startswith(f"{service_name}-"):
            yield f"{path}.metadata.name: must begin with {service_name}-"
    yield from names.metadata({"name": "x", **metadata}, f"{path}.metadata")
    annotations = metadata.get("annotations") or {}
    for key, why in autoscaling(annotations):
        yield f"{path}.metadata.annotations.{_AUTOSCALING}{key}: {why}"
    for key in annotations.keys() & _QUEUE_RESOURCES:
        if not names.is_quantity(annotations[key]):
            yield f"{path}.metadata.annotations.{key}: is not a quantity"
    yield from _limits(spec, features, f"{path}.spec")
    yield from pod({k: v for k, v in spec.items() if k not in _REVISION}, features, f"{path}.spec")


def _limits(spec: Fields, features: Set[str], path: str) -> Iterator[str]:
    if not 0 <= spec.get("containerConcurrency", 0) <= _MAX_CONCURRENCY:
        yield f"{path}.containerConcurrency: must be 0 to {_MAX_CONCURRENCY}"
    timeout = spec.get("timeoutSeconds") or 300
    if not 0 < timeout <= _MAX_TIMEOUT_S and "max-revision-timeout-seconds" not in features:
        yield (
            f"{path}.timeoutSeconds: must be at most {_MAX_TIMEOUT_S}"
            " without the feature max-revision-timeout-seconds"
        )
    for field in ("responseStartTimeoutSeconds", "idleTimeoutSeconds"):
        value = spec.get(field, 0)
        if value < 0 or value > timeout:
            yield f"{path}.{field}: must be at most timeoutSeconds"
    policy = spec.get("loadBalancingPolicy")
    if policy is not None and policy not in _POLICIES:
        yield f"{path}.loadBalancingPolicy: {policy!r} is none of {sorted(_POLICIES)}"


# -- autoscaling ------------------------------------------------------------------------------


def autoscaling(annotations: Fields) -> Iterator[tuple[str, str]]:
    """What is wrong with the autoscaling annotations, as (name without domain, why)."""
    found = {
        key.removeprefix(_AUTOSCALING): value
        for key, value in annotations.items()
        if key.startswith(_AUTOSCALING)
    }
    kind = found.get("class", _KPA)
    if kind.endswith("autoscaling.knative.dev") and kind not in (_KPA, _HPA):
        yield "class", f"{kind!r} is none of Knative's"
    if kind == _KPA and found.get("metric", "concurrency") not in ("concurrency", "rps"):
        yield "metric", "must be concurrency or rps"
    if kind == _HPA and found.get("metric") == "":
        yield "metric", "must not be empty"
    algorithms = ("linear", "weighted-exponential", "weightedExponential")
    if found.get("metric-aggregation-algorithm", "linear") not in algorithms:
        yield "metric-aggregation-algorithm", f"must be one of {algorithms}"
    yield from _scales(found)
    yield from _numbers(found)
    yield from _durations(found)


def _scales(found: Fields) -> Iterator[tuple[str, str]]:
    scale: dict[str, int] = {}
    for name in ("min-scale", "max-scale", "initial-scale", "activation-scale"):
        if name in found:
            if not found[name].isdecimal():
                yield name, f"{found[name]!r} is not a whole number of at least 0"
                return
            scale[name] = int(found[name])
    least, most = scale.get("min-scale", 0), scale.get("max-scale", 0)
    if most and most < least:
        yield "max-scale", "is less than min-scale"
    if scale.get("initial-scale", 1) == 0:
        yield "initial-scale", "0 needs allow-zero-initial-scale"
    active = scale.get("activation-scale")
    if active is not None and (active < 2 or active < least or (most and active > most)):
        yield "activation-scale", "must be at least 2, and between min-scale and max-scale"


def _numbers(found: Fields) -> Iterator[tuple[str, str]]:
    bounds = {
        "target": (0.01, float("inf")),
        "target-utilization-percentage": (1, 100),
        "panic-window-percentage": (1, 100),
        "panic-threshold-percentage": (110, 1000),
    }
    for name in (*bounds, "target-burst-capacity"):
        if name not in found:
            continue
        try:
            value = float(found[name])
        except ValueError:
            yield name, f"{found[name]!r} is not a number"
            continue
        if name == "target-burst-capacity":
            if value < 0 and value != -1:
                yield name, "must be -1 or at least 0"
        elif not bounds[name][0] <= value <= bounds[name][1]:
            yield name, f"must be {bounds[name][0]} to {bounds[name][1]}"


def _durations(found: Fields) -> Iterator[tuple[str, str]]:
    bounds = {
        "window": (6, True),
        "scale-down-delay": (0, True),
        "scale-to-zero-pod-retention-period": (0, False),
    }
    for name, (least, whole) in bounds.items():
        if name not in found:
            continue
        seconds = names.go_seconds(found[name])
        if seconds is None:
            yield name, f"{found[name]!r} is not a duration such as 60s"
        elif not least <= seconds <= _HOUR_S:
            yield name, f"must be {least}s to 1h"
        elif whole and seconds != int(seconds):
            yield name, "must be whole seconds"


# -- traffic and domains ----------------------------------------------------------------------


def _traffic(traffic: Any) -> Iterator[str]:
    if traffic is None:
        return  # all of it to the latest revision
    if sum(target.get("percent", 0) for target in traffic) != 100:
        yield "spec.traffic: the percentages do not make 100"
    tags: set[str] = set()
    for index, target in enumerate(traffic):
        path = f"spec.traffic[{index}]"
        if not 0 <= target.get("percent", 0) <= 100:
            yield f"{path}.percent: must be 0 to 100"
        for field in ("configurationName", "url"):
            if field in target:
                yield f"{path}.{field}: is not allowed in a Service"
        revision = target.get("revisionName", "")
        if revision and not names.is_qualified(revision):
            yield f"{path}.revisionName: {revision!r} is not a name"
        if "latestRevision" in target and target["latestRevision"] == bool(revision):
            yield f"{path}.latestRevision: contradicts revisionName"
        if tag := target.get("tag", ""):
            if not names.is_label_1035(tag):
                yield f"{path}.tag: {tag!r} is not a DNS-1035 label"
            if tag in tags:
                yield f"{path}.tag: {tag!r} is there twice"
            tags.add(tag)


def domain_mapping(document: Fields, _features: Set[str]) -> Iterator[str]:
    metadata, ref = document["metadata"], document["spec"].get("ref") or {}
    if not names.is_subdomain(metadata["name"]) or "." not in metadata["name"]:
        yield f"metadata.name: {metadata['name']!r} is not a fully qualified domain name"
    if metadata["name"].endswith(".svc.cluster.local"):
        yield "metadata.name: the cluster's own domain cannot be mapped"
    for field in ("apiVersion", "kind", "name"):
        if not ref.get(field):
            yield f"spec.ref.{field}: is missing"
    if ref.get("namespace", metadata.get("namespace")) != metadata.get("namespace"):
        yield "spec.ref.namespace: must be the mapping's own"
    tls = document["spec"].get("tls")
    if tls is not None and not tls.get("secretName"):
        yield "spec.tls.secretName: is missing"


def domain_claim(document: Fields, _features: Set[str]) -> Iterator[str]:
    if not document["spec"].get("namespace"):
        yield "spec.namespace: is missing"
