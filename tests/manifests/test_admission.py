"""Each rule of ``admission`` refuses the manifest that breaks it, and nothing else."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from manifests.admission import is_knative, names, refusals
from manifests.admission.changes import refused_changes
from manifests.admission.pods import POD_FEATURES
from manifests.kustomize import ROOT, build

OURS = {
    (document["kind"], document["metadata"]["name"]): document
    for half in ("knative/base", "eventing/overlays/rabbitmq")
    for document in build(ROOT / half)
}
EXECUTOR = OURS["Service", "executor"]
BROKER = OURS["Broker", "batch-gateway"]
TRIGGER = OURS["Trigger", "executor"]
PING = OURS["PingSource", "janitor"]
BINDING = OURS["SinkBinding", "batch-gateway"]
RABBIT = OURS["RabbitmqBrokerConfig", "batch-gateway"]
EVENT_TYPE = next(d for (kind, _), d in OURS.items() if kind == "EventType")
MAPPING = {
    "apiVersion": "serving.knative.dev/v1beta1",
    "kind": "DomainMapping",
    "metadata": {"name": "batches.example.com", "namespace": "batch-gateway"},
    "spec": {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "api"}},
}
POLICY = {
    "apiVersion": "eventing.knative.dev/v1alpha1",
    "kind": "EventPolicy",
    "metadata": {"name": "p", "namespace": "batch-gateway"},
    "spec": {
        "from": [{"sub": "system:serviceaccount:data:*"}],
        "to": [{"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b"}}],
    },
}
REMOVED = object()
SPEC = "spec.template.spec"
BOX = f"{SPEC}.containers.0"
SCALING = "spec.template.metadata.annotations.autoscaling~knative~dev/"


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with ``value`` at ``path``: parts between dots, ``~`` for a dot within one."""
    result = copy.deepcopy(document)
    *way, last = (part.replace("~", ".") for part in path.split("."))
    at: Any = result
    for part in way:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    if value is REMOVED:
        del at[last]
    elif isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value
    return result


def volume(**source: Any) -> list[dict[str, Any]]:
    return [{"name": "scratch", **source}]


SERVICE_RULES = [
    # schema
    ("extra", 1, "extra: there is no such field"),
    ("spec.runLatest", {}, "spec.runLatest: there is no such field"),
    (f"{SPEC}.timeoutSeconds", "600", "must be of type integer"),
    (f"{SPEC}.terminationGracePeriodSeconds", 30, "terminationGracePeriodSeconds: there is no"),
    (f"{BOX}.lifecycle", {"preStop": {}}, "lifecycle: there is no such field"),
    (f"{SPEC}.containers", REMOVED, "containers: is missing"),
    ("metadata.labels.x", 1, "metadata.labels.x: must be text"),
    ("metadata.labels.x", "a b", "is not a label's value"),
    ("metadata.labels.-x", "a", "is not a qualified name"),
    ("metadata.annotations", {"x": True}, "metadata.annotations.x: must be text"),
    ("metadata.finalizers", [], "metadata.finalizers: not written by us"),
    # names, labels, annotations of the Service
    ("metadata.name", "9executor", "is not a DNS-1035 label"),
    ("metadata.name", "Executor", "is not a DNS name"),
    ("metadata.name", "x" * 64, "is not a DNS-1035 label"),
    ("metadata.labels.networking~knative~dev/visibility", "private", "must be cluster-local"),
    ("metadata.labels.serving~knative~dev/service", "x", "is Knative's own"),
    ("metadata.annotations", {"autoscaling.knative.dev/min-scale": "1"}, "belongs under"),
    ("metadata.annotations", {"serving.knative.dev/rollout-duration": "1.5s"}, "whole seconds"),
    ("metadata.annotations", {"serving.knative.dev/rollout-duration": "300"}, "is not a duration"),
    ("metadata.annotations", {"serving.knative.dev/rollout-duration": "-5s"}, "is not a duration"),
    # the revision
    ("spec.template.metadata.name", "other-1", "must begin with executor-"),
    ("spec.template.metadata.name", "executor-A", "is not a DNS-1035 label"),
    ("spec.template.metadata.annotations.x", 1, "must be of type string"),
    (f"{SPEC}.containerConcurrency", 1001, "must be 0 to 1000"),
    (f"{SPEC}.containerConcurrency", -1, "must be 0 to 1000"),
    (f"{SPEC}.timeoutSeconds", 601, "must be at most 600"),
    (f"{SPEC}.timeoutSeconds", -1, "must be at most 600"),
    (f"{SPEC}.responseStartTimeoutSeconds", 601, "must be at most timeoutSeconds"),
    (f"{SPEC}.idleTimeoutSeconds", 700, "must be at most timeoutSeconds"),
    # autoscaling
    (f"{SCALING}class", "x.autoscaling.knative.dev", "is none of Knative's"),
    (f"{SCALING}metric", "cpu", "must be concurrency or rps"),
    (f"{SCALING}metric-aggregation-algorithm", "mean", "must be one of"),
    (f"{SCALING}min-scale", "-1", "is not a whole number"),
    (f"{SCALING}max-scale", "many", "is not a whole number"),
    (f"{SCALING}min-scale", "9", "is less than min-scale"),
    (f"{SCALING}initial-scale", "0", "needs allow-zero-initial-scale"),
    (f"{SCALING}activation-scale", "1", "must be at least 2"),
    (f"{SCALING}activation-scale", "9", "between min-scale and max-scale"),
    (f"{SCALING}target", "0", "must be 0.01 to"),
    (f"{SCALING}target-utilization-percentage", "0.5", "must be 1 to 100"),
    (f"{SCALING}panic-window-percentage", "101", "must be 1 to 100"),
    (f"{SCALING}panic-threshold-percentage", "100", "must be 110 to 1000"),
    (f"{SCALING}target-burst-capacity", "-2", "must be -1 or at least 0"),
    (f"{SCALING}target-burst-capacity", "x", "is not a number"),
    (f"{SCALING}window", "5s", "must be 6s to 1h"),
    (f"{SCALING}window", "2h", "must be 6s to 1h"),
    (f"{SCALING}window", "PT60S", "is not a duration such as 60s"),
    (f"{SCALING}window", "6500ms", "must be whole seconds"),
    (f"{SCALING}scale-down-delay", "61m", "must be 0s to 1h"),
    (f"{SCALING}scale-to-zero-pod-retention-period", "60", "is not a duration"),
    # the pod
    (f"{SPEC}.automountServiceAccountToken", True, "may only be false"),
    (f"{SPEC}.serviceAccountName", "Batch_Gateway", "is not a DNS name"),
    (f"{SPEC}.containers", [], "must be one, not 0"),
    # volumes
    (f"{SPEC}.volumes", volume(emptyDir={}) * 2, "is there twice"),
    (f"{SPEC}.volumes", [*volume(emptyDir={}), {"name": "b", "emptyDir": {}}], "is not mounted"),
    (f"{SPEC}.volumes.0.name", "Scratch", "is not a DNS label"),
    (f"{SPEC}.volumes", volume(), "must be of exactly one kind"),
    (f"{SPEC}.volumes", volume(emptyDir={}, secret={"secretName": "x"}), "of exactly one kind"),
    (f"{SPEC}.volumes", volume(emptyDir={"medium": "Disk"}), "must be empty or Memory"),
    (f"{SPEC}.volumes", volume(emptyDir={"sizeLimit": "1 GB"}), "is not a positive quantity"),
    (f"{SPEC}.volumes", volume(emptyDir={"sizeLimit": "-1Gi"}), "is not a positive quantity"),
    (f"{SPEC}.volumes", volume(secret={"secretName": "x"}), "must be true for this kind"),
    (f"{SPEC}.volumes", volume(configMap={"name": "x"}), "must be true for this kind of volume"),
    (f"{SPEC}.volumes", volume(persistentVolumeClaim={"claimName": "x"}), "needs the feature"),
    # mounts
    (f"{BOX}.volumeMounts.0.name", "other", "there is no volume 'other'"),
    (f"{BOX}.volumeMounts.0.mountPath", "/", "is reserved"),
    (f"{BOX}.volumeMounts.0.mountPath", "/dev/", "is reserved"),
    (f"{BOX}.volumeMounts.0.mountPath", "tmp", "is not absolute"),
    (f"{BOX}.volumeMounts", [{"name": "scratch", "mountPath": "/a"}] * 2, "is there twice"),
    # the container
    (f"{BOX}.name", "queue-proxy", "is reserved"),
    (f"{BOX}.name", "A", "is not a DNS label"),
    (f"{BOX}.image", "", "is not a reference to an image"),
    (f"{BOX}.image", "Batch Gateway:1", "is not a reference to an image"),
    (f"{BOX}.terminationMessagePolicy", "Never", "terminationMessagePolicy: must be"),
    (f"{BOX}.env", [{"name": "PORT", "value": "1"}], "'PORT' is reserved"),
    (f"{BOX}.env", [{"name": "K_SERVICE", "value": "1"}], "'K_SERVICE' is reserved"),
    (f"{BOX}.env", [{"name": "A", "value": "1"}] * 2, "is there twice"),
    (f"{BOX}.env", [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}], "needs the"),
    (f"{BOX}.envFrom", [{"prefix": "X_"}], "must be either configMapRef or secretRef"),
    (f"{BOX}.ports", [{"containerPort": 8080}, {"containerPort": 8081}], "must be one at most"),
    (f"{BOX}.ports.0.containerPort", 8012, "is queue-proxy's"),
    (f"{BOX}.ports.0.containerPort", 9091, "is queue-proxy's"),
    (f"{BOX}.ports.0.containerPort", 65536, "is out of bounds"),
    (f"{BOX}.ports.0.name", "http", "must be empty, http1 or h2c"),
    (f"{BOX}.ports.0.protocol", "UDP", "must be TCP"),
    (f"{BOX}.resources.limits.memory", "1 Gi", "is not a quantity"),
    (f"{BOX}.resources.requests.cpu", "half", "is not a quantity"),
    (f"{BOX}.securityContext.privileged", True, "privileged: is never allowed"),
    (f"{BOX}.securityContext.capabilities.add", ["NET_ADMIN"], "capabilities.add: needs"),
    (f"{BOX}.securityContext.runAsUser", -1, "is out of bounds"),
    # probes
    (f"{BOX}.readinessProbe", {"httpGet": {"path": "/"}, "exec": {}}, "must have one handler"),
    (f"{BOX}.readinessProbe.httpGet.port", "metrics", "must be the container's port"),
    (f"{BOX}.readinessProbe.timeoutSeconds", 5, "is not allowed without periodSeconds"),
    (f"{BOX}.readinessProbe.failureThreshold", 3, "is not allowed without periodSeconds"),
    (f"{BOX}.readinessProbe.successThreshold", 0, "must be at least 1"),
    (f"{BOX}.livenessProbe.periodSeconds", -1, "is out of bounds"),
    # traffic
    ("spec.traffic", [{"latestRevision": True, "percent": 90}], "do not make 100"),
    ("spec.traffic", [{"latestRevision": True, "percent": 101}], "must be 0 to 100"),
    ("spec.traffic", [{"revisionName": "a b", "percent": 100}], "is not a name"),
    (
        "spec.traffic",
        [{"revisionName": "executor-1", "latestRevision": True, "percent": 100}],
        "contradicts revisionName",
    ),
    (
        "spec.traffic",
        [{"latestRevision": True, "percent": 50, "tag": "a"}] * 2,
        "'a' is there twice",
    ),
    ("spec.traffic", [{"latestRevision": True, "percent": 100, "tag": "A"}], "DNS-1035"),
    ("spec.traffic", [{"configurationName": "x", "percent": 100}], "not allowed in a Service"),
]
DELIVERY = "spec.delivery."
EVENTING_RULES = [
    (BROKER, f"{DELIVERY}retries", 1, "there is no such field"),
    (BROKER, f"{DELIVERY}retry", -1, "must not be negative"),
    (BROKER, f"{DELIVERY}backoffPolicy", "random", "must be linear or exponential"),
    (BROKER, f"{DELIVERY}backoffDelay", "2s", "is not a duration such as PT2S"),
    (BROKER, f"{DELIVERY}timeout", "600s", "is not a positive duration such as PT10M"),
    (BROKER, f"{DELIVERY}timeout", "PT0S", "is not a positive duration such as PT10M"),
    (BROKER, f"{DELIVERY}format", "xml", "must be json or binary"),
    (BROKER, f"{DELIVERY}retryAfterMax", "PT10S", "needs the feature delivery-retryafter"),
    (BROKER, f"{DELIVERY}deadLetterSink", {}, "needs a ref or a uri"),
    (BROKER, f"{DELIVERY}deadLetterSink", {"uri": "/letters"}, "must be absolute"),
    (BROKER, "spec.config.name", REMOVED, "spec.config.name: is missing"),
    (BROKER, "spec.config.namespace", REMOVED, "spec.config.namespace: is missing"),
    (BROKER, "spec.config.kind", "ConfigMap", "needs a RabbitmqBrokerConfig"),
    (RABBIT, "spec.rabbitmqClusterReference", REMOVED, "is missing"),
    (RABBIT, "spec.rabbitmqClusterReference.name", REMOVED, "either a name or"),
    (
        RABBIT,
        "spec.rabbitmqClusterReference.connectionSecret",
        {"name": "x"},
        "either a name or a connectionSecret",
    ),
    (RABBIT, "spec.queueType", "lazy", "is none of"),
    (TRIGGER, "spec.broker", REMOVED, "spec.broker: is missing"),
    (TRIGGER, "spec.filter.attributes.Type", "x", "is not the name of an attribute"),
    (TRIGGER, "spec.filters", [{"exact": {"type": "a", "source": "b"}}], "one attribute only"),
    (TRIGGER, "spec.filters", [{"exact": {"a": "1"}, "prefix": {"b": "2"}}], "several dialects"),
    (TRIGGER, "spec.filters", [{"not": {"exact": {"A": "1"}}}], "is not the name of an"),
    (TRIGGER, "spec.filters", [{"any": [{"suffix": {"a-b": "1"}}]}], "is not the name of an"),
    (TRIGGER, "spec.subscriber", {}, "needs a ref or a uri"),
    (TRIGGER, "spec.subscriber.uri", "http://x/", "may not be absolute beside a ref"),
    (TRIGGER, "spec.subscriber.ref.kind", REMOVED, "spec.subscriber.ref.kind: is missing"),
    (TRIGGER, "spec.subscriber.ref.namespace", "other", "must be batch-gateway"),
    (TRIGGER, "spec.delivery", {"backoffDelay": "2"}, "is not a duration"),
    (
        TRIGGER,
        "metadata.annotations.rabbitmq~eventing~knative~dev/parallelism",
        "1001",
        "must be 1 to 1000",
    ),
    (
        TRIGGER,
        "metadata.annotations.kafka~eventing~knative~dev/delivery~order",
        "none",
        "must be ordered or unordered",
    ),
    (TRIGGER, "metadata.annotations.eventing~knative~dev/injection", "enabled", "only with the"),
    (TRIGGER, "metadata.annotations.knative~dev/dependency", "{", "is not JSON"),
    (TRIGGER, "metadata.annotations.knative~dev/dependency", "{}", "kind: is missing"),
    (PING, "spec.schedule", "* * * *", "4 fields, not 5"),
    (PING, "spec.schedule", "61 * * * *", "is no value for field 1"),
    (PING, "spec.schedule", "* * * 13 *", "is no value for field 4"),
    (PING, "spec.schedule", "*/0 * * * *", "is no value for field 1"),
    (PING, "spec.schedule", "5-1 * * * *", "is no value for field 1"),
    (PING, "spec.schedule", "@every 1m", "is no descriptor that is supported"),
    (PING, "spec.timezone", "Europe/Atlantis", "there is no 'Europe/Atlantis'"),
    (PING, "spec.dataBase64", "!", "is not base64"),
    (PING, "spec.sink", REMOVED, "spec.sink: needs a ref or a uri"),
    (BINDING, "spec.subject.kind", REMOVED, "spec.subject.kind: is missing"),
    (BINDING, "spec.subject.name", "api", "needs either a name or a selector"),
    (BINDING, "spec.subject.selector", REMOVED, "needs either a name or a selector"),
    (BINDING, "spec.subject.namespace", "other", "must be batch-gateway"),
    (BINDING, "spec.sink", {}, "needs a ref or a uri"),
    (EVENT_TYPE, "spec.attributes", [{"name": "type"}], "specversion is missing"),
    (EVENT_TYPE, "spec.attributes", [{"value": "x"}], "name: is missing"),
    (EVENT_TYPE, "spec.reference.name", REMOVED, "spec.reference.name: is missing"),
    (EVENT_TYPE, "metadata.name", "batch.at_risk", "is not a DNS name"),
    (MAPPING, "metadata.name", "batches", "is not a fully qualified domain name"),
    (MAPPING, "metadata.name", "api.x.svc.cluster.local", "own domain cannot be mapped"),
    (MAPPING, "spec.ref.kind", REMOVED, "spec.ref.kind: is missing"),
    (MAPPING, "spec.ref.namespace", "other", "must be the mapping's own"),
    (MAPPING, "spec.tls", {}, "secretName: is missing"),
    (POLICY, "spec.from", [{}], "needs either a ref or a sub"),
    (POLICY, "spec.from", [{"sub": "a*b"}], "'*' is only allowed at the end"),
    (POLICY, "spec.to", [{"ref": {}, "selector": {}}], "needs either a ref or a selector"),
    (POLICY, "spec.filters", [{"exact": {"A": "b"}}], "is not the name of an attribute"),
]


@pytest.mark.parametrize(("path", "value", "why"), SERVICE_RULES)
def test_a_bad_service_is_refused(path, value, why):
    assert any(why in found for found in refusals(changed(EXECUTOR, path, value)))


@pytest.mark.parametrize(("document", "path", "value", "why"), EVENTING_RULES)
def test_a_bad_resource_of_eventing_or_a_bad_domain_is_refused(document, path, value, why):
    wrong = refusals(changed(document, path, value), {"authentication-oidc"})

    assert any(why in found for found in wrong), wrong


@pytest.mark.parametrize("document", OURS.values(), ids=map("-".join, OURS))
def test_what_all_those_are_made_from_is_admitted(document):
    if is_knative(document):
        assert refusals(document) == []


@pytest.mark.parametrize(("field", "flag"), POD_FEATURES.items())
def test_a_field_of_the_pod_that_is_off_as_shipped_names_its_flag(field, flag):
    values: dict[str, Any] = {
        "affinity": {},
        "nodeSelector": {"a": "b"},
        "securityContext": {"fsGroup": 1},
        "dnsConfig": {},
    }
    value = values.get(field)
    if value is None:
        is_list = field in ("topologySpreadConstraints", "hostAliases", "tolerations")
        is_text = field.endswith(("Name", "Policy"))
        value = [] if is_list or field == "initContainers" else ("x" if is_text else True)
    bad = changed(EXECUTOR, f"{SPEC}.{field}", value)

    assert any(flag in found for found in refusals(bad))
    assert not any(flag in found for found in refusals(bad, {flag}))


def test_a_policy_for_events_needs_its_feature():
    assert refusals(POLICY) == ["spec: needs the feature authentication-oidc"]
    assert refusals(POLICY, {"authentication-oidc"}) == []


def test_a_claim_may_be_used_with_its_features():
    claim = changed(EXECUTOR, f"{SPEC}.volumes", volume(persistentVolumeClaim={"claimName": "x"}))
    flags = {f"kubernetes.podspec-persistent-volume-{what}" for what in ("claim", "write")}

    assert refusals(claim, flags) == []
    assert len(refusals(claim)) == 2


def test_an_unknown_kind_is_refused():
    assert refusals({**TRIGGER, "kind": "Subscription"})


CHANGES: list[tuple[dict[str, Any], str, Any]] = [
    (BROKER, "metadata.annotations.eventing~knative~dev/broker~class", "Kafka"),
    (BROKER, "spec.config.name", "other"),
    (TRIGGER, "spec.broker", "other"),
    (EVENT_TYPE, "spec.description", "other"),
    (RABBIT, "spec.queueType", "classic"),
    (OURS["Job", "migrate"], "spec.template.spec.containers.0.image", "x:2"),
]


@pytest.mark.parametrize(("document", "path", "value"), CHANGES)
def test_what_cannot_be_changed_is_known(document, path, value):
    assert list(refused_changes(document, changed(document, path, value)))
    assert list(refused_changes(document, document)) == []


def test_a_revision_with_a_name_of_ours_needs_a_new_one_for_each_change():
    named = changed(EXECUTOR, "spec.template.metadata.name", "executor-a")
    other = changed(named, f"{SPEC}.timeoutSeconds", 500)

    assert list(refused_changes(named, other))
    assert not list(refused_changes(EXECUTOR, changed(EXECUTOR, f"{SPEC}.timeoutSeconds", 500)))


SPELLINGS: list[tuple[Callable[[Any], object], list[Any], list[Any]]] = [
    (names.is_quantity, ["1Gi", "250m", "1.5", "1e3", 2, ".5"], ["1 Gi", "1GiB", "", "x", True]),
    (names.go_seconds, ["60s", "1m30s", "1.5h", "10ms"], ["60", "PT1M", "1 m", "", "s"]),
    (names.is_iso_duration, ["PT2S", "PT10M", "P1DT12H", "PT0.2S"], ["2s", "P", "PT", "PT2"]),
    (names.is_image, ["postgres:18", "ghcr.io/a/b@sha256:" + "0" * 64], ["A:1", "a:", "a b"]),
    (names.is_subdomain, ["a", "a.b-c", "0a"], ["A", "a_b", "-a", "a..b", "a" * 254]),
    (names.is_label_1035, ["a", "a-1"], ["1a", "a-", "a.b", "a" * 64]),
    (names.is_qualified, ["a", "x.y/A_b.c"], ["", "/a", "a/b/c", "x y"]),
]


@pytest.mark.parametrize(("is_right", "right", "wrong"), SPELLINGS)
def test_spellings(is_right, right, wrong):
    assert all(is_right(text) for text in right)
    assert not any(is_right(text) for text in wrong)


@pytest.mark.parametrize("schedule", ["* * * * *", "*/5 0-6,22 ? jan mon-fri", "@hourly"])
def test_schedules_that_are_right(schedule):
    assert names.cron_problem(schedule) is None
