"""Checks of the cluster itself: Kubernetes and Knative."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batch_gateway.cli.cluster import fixes
from batch_gateway.cli.cluster.kube import ClusterApiError, ClusterClient
from batch_gateway.cli.cluster.object_status import ObjectReadiness, object_status
from batch_gateway.cli.doctor.findings import DoctorFinding, error, note, ok, warning

Object = Mapping[str, Any]

#: Of Knative 1.23 (knative.dev/pkg/version); older Knative is content with less.
_KUBERNETES = (1, 34)
_KNATIVE = (1, 17)  # the first whose Broker may answer a producer only after all subscribers
_NEWEST_KNOWN = (1, 23)
_SKEW_S = 5.0
_PARTS = {
    "knative-serving": ("controller", "activator", "autoscaler", "webhook"),
    "knative-eventing": ("eventing-controller", "eventing-webhook"),
}
_INSTALL = "https://knative.dev/docs/install"

#: What a Service's pods may only have when a feature is switched on -> that feature.
_FEATURES = {
    "affinity": "affinity",
    "topologySpreadConstraints": "topologyspreadconstraints",
    "hostAliases": "hostaliases",
    "nodeSelector": "nodeselector",
    "tolerations": "tolerations",
    "runtimeClassName": "runtimeclassname",
    "dnsPolicy": "dnspolicy",
    "dnsConfig": "dnsconfig",
    "securityContext": "securitycontext",
    "priorityClassName": "priorityclassname",
    "schedulerName": "schedulername",
    "initContainers": "init-containers",
}


def check_kubernetes(cluster: ClusterClient) -> Iterator[DoctorFinding]:
    text = cluster.version()
    if _version(text) < _KUBERNETES:
        wanted = ".".join(map(str, _KUBERNETES))
        yield warning(
            f"Kubernetes is {text}; Knative 1.23 asks for {wanted}",
            "upgrade Kubernetes, or keep to a release of Knative that supports this one",
        )
    else:
        yield ok(f"Kubernetes is {text}")


def check_clock(cluster: ClusterClient) -> Iterator[DoctorFinding]:
    """Ours against the server's; deadlines and signatures are judged by several clocks."""
    began = time.time()
    theirs = cluster.clock()
    if theirs is None:
        yield note("the cluster does not tell its time")
        return
    skew = theirs - (began + time.time()) / 2
    if abs(skew) > _SKEW_S:
        yield warning(
            f"the cluster's clock is {skew:+.0f} s from this machine's",
            "synchronise both with NTP: deadlines, tokens and signatures are judged by clocks",
        )
    else:
        yield ok("the cluster's clock agrees with this machine's")


def check_knative(cluster: ClusterClient) -> Iterator[DoctorFinding]:
    for namespace, parts in _PARTS.items():
        try:
            yield from _installation(cluster, namespace, parts)
        except ClusterApiError as refusal:
            yield note(
                f"{namespace} cannot be looked at: {refusal}", "ask an administrator of the cluster"
            )


def _installation(
    cluster: ClusterClient, namespace: str, parts: tuple[str, ...]
) -> Iterator[DoctorFinding]:
    versions = set()
    for part in parts:
        found = cluster.get("apps/v1", "Deployment", part, namespace=namespace)
        if found is None:
            yield error(f"{namespace}/{part} is not there", f"install Knative: {_INSTALL}")
            continue
        if (stand := object_status(found)).state is not ObjectReadiness.READY:
            yield error(
                f"{namespace}/{part}: {stand.reason}",
                fixes.describe(cluster, "deployment", part, namespace=namespace),
            )
        labels = found["metadata"].get("labels") or {}
        if version := labels.get("app.kubernetes.io/version"):
            versions.add(version)
    for version in sorted(versions):
        if _version(version) < _KNATIVE:
            wanted = ".".join(map(str, _KNATIVE))
            yield warning(
                f"{namespace} is {version}, older than {wanted}", "upgrade Knative step by step"
            )
        elif _version(version) > _NEWEST_KNOWN:
            yield note(f"{namespace} is {version}, newer than what this release was made for")
        else:
            yield ok(f"{namespace} is {version}")


def check_features(cluster: ClusterClient, services: Sequence[Object]) -> Iterator[DoctorFinding]:
    """What the Services use must be switched on, or Knative refuses them."""
    needed = {feature for service in services for feature in _used(service)}
    if not needed:
        yield ok("no feature of Knative needs to be switched on")
        return
    try:
        config = cluster.get("v1", "ConfigMap", "config-features", namespace="knative-serving")
    except ClusterApiError as refusal:
        yield note(f"Knative's features cannot be looked at: {refusal}")
        return
    data = (config or {}).get("data") or {}
    for feature in sorted(needed):
        name = f"kubernetes.podspec-{feature}"
        if data.get(name, "disabled").lower() in ("enabled", "allowed"):
            yield ok(f"{name} is on")
        else:
            yield error(
                f"the Services need Knative's feature {name}, which is off",
                fixes.set_for_knative(cluster, "config-features", name, "enabled"),
            )


def _used(service: Object) -> Iterator[str]:
    pod = service["spec"]["template"]["spec"]
    for field, feature in _FEATURES.items():
        if field in pod:
            yield feature
    for volume in pod.get("volumes") or ():
        if (claim := volume.get("persistentVolumeClaim")) is not None:
            yield "persistent-volume-claim"
            if not claim.get("readOnly"):
                yield "persistent-volume-write"
    for container in pod.get("containers") or ():
        for variable in container.get("env") or ():
            if "fieldRef" in (variable.get("valueFrom") or {}):
                yield "fieldref"


def check_scale_to_zero(cluster: ClusterClient) -> Iterator[DoctorFinding]:
    try:
        config = cluster.get("v1", "ConfigMap", "config-autoscaler", namespace="knative-serving")
    except ClusterApiError as refusal:
        yield note(f"the autoscaler's configuration cannot be looked at: {refusal}")
        return
    if ((config or {}).get("data") or {}).get("enable-scale-to-zero", "true") == "false":
        yield warning(
            "this cluster keeps a pod of every Service: enable-scale-to-zero is false",
            fixes.set_for_knative(cluster, "config-autoscaler", "enable-scale-to-zero", "true"),
        )
    else:
        yield ok("Services scale to zero")


def _version(text: str) -> tuple[int, int]:
    """Major and minor of ``v1.35.2-gke.1`` or ``1.23.0``; (0, 0) when there are none."""
    parts = text.removeprefix("v").split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return (0, 0)
    return (int(parts[0]), int(parts[1]))
