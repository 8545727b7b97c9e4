"""Every combination that a user may build is built, and would be admitted by a cluster."""

import functools
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from manifests.admission import is_knative, names, refusals
from manifests.kustomize import ROOT, build, combine

from batch_gateway.cli.cluster.kinds import WITH_STATUS
from batch_gateway.cli.cluster.uninstall import REMOVED
from batch_gateway.core.events import EventType
from batch_gateway.local.manifests import deployment, load
from batch_gateway.settings import Settings
from batch_gateway.settings.routes import checked_routes

KUBERNETES = "1.34"  # the oldest that Knative 1.22 and 1.23 run on
OVERLAYS = sorted(
    str(path.parent.relative_to(ROOT))
    for half in ("knative", "eventing")
    for path in ROOT.glob(f"{half}/overlays/*/kustomization.yaml")
)
COMPONENTS = {
    half: sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(f"{half}/components/*"))
    for half in ("knative", "eventing")
}
#: Alternative components: an overlay uses one of them.
ALTERNATIVES = (
    {"managed-postgresql", "in-cluster-postgresql"},
    {"managed-redis", "in-cluster-valkey"},
    {"managed-s3", "in-cluster-s3", "persistent-filesystem"},
    {"oidc", "api-keys"},
    {"mt", "rabbitmq", "kafka"},
)
#: Groups whose schemas are not at hand.
OPERATORS = {"monitoring.coreos.com"}
FLAG = re.compile(r"kubernetes\.podspec-[a-z-]+|authentication-oidc|max-revision-timeout-seconds")


def excludes(one: str, other: str) -> bool:
    return any({Path(one).name, Path(other).name} <= group for group in ALTERNATIVES)


def combinations() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(resources, components): each overlay, each component, each pair that makes sense."""
    for overlay in OVERLAYS:
        yield (overlay,), ()
    for half, components in COMPONENTS.items():
        for component in components:
            yield (f"{half}/base",), (component,)
        for pair in itertools.combinations(components, 2):
            if not excludes(*pair):
                yield (f"{half}/base",), pair


every_combination = pytest.mark.parametrize(
    ("resources", "components"),
    [pytest.param(*found, id="+".join((*found[0], *found[1]))) for found in combinations()],
)
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
#: Overlays that bring everything.
WHOLE = [overlay for overlay in OVERLAYS if overlay.startswith("knative/")]
every_whole = pytest.mark.parametrize("overlay", WHOLE)


def flags(components: Sequence[str]) -> set[str]:
    """The features that the READMEs of these components ask for."""
    return {
        flag
        for component in components
        for flag in FLAG.findall((ROOT / component / "README.md").read_text())
    }


def pods(documents: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(resource, pod template) of everything that runs."""
    for document in documents:
        spec = document.get("spec") or {}
        template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get(
            "template"
        )
        if isinstance(template, dict) and "containers" in (template.get("spec") or {}):
            yield document, template


def of_kind(documents: Sequence[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] in kinds]


def services(documents: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        document["metadata"]["name"]: document
        for document in documents
        if document["apiVersion"] == "serving.knative.dev/v1"
    }


#: Kinds that no controller reports a readiness of.
WITHOUT_STATUS = {
    *("Namespace", "ServiceAccount", "ConfigMap", "Secret", "Service", "NetworkPolicy", "CronJob"),
    *("PersistentVolumeClaim", "PodDisruptionBudget", "EventType", "RabbitmqBrokerConfig"),
    *("ClusterDomainClaim", "PodMonitor", "ScrapeConfig", "PrometheusRule"),
}


@functools.cache
def deployed_kinds() -> frozenset[tuple[str, str]]:
    """(apiVersion, kind) of all that an overlay or a component brings."""
    return frozenset(
        (document["apiVersion"], document["kind"])
        for resources, components in combinations()
        if len(components) < 2
        for document in combine(resources, components)
    )


def test_status_and_doctor_know_every_kind_that_has_a_status():
    known = {(version, kind) for version, kind, _ in WITH_STATUS}

    deployed = deployed_kinds()

    unknown = deployed - known
    assert {kind for _, kind in unknown} <= WITHOUT_STATUS
    assert ("serving.knative.dev/v1", "Service") in known
    assert known - deployed == set()


def test_uninstalling_removes_every_kind_but_those_that_hold_data():
    """A claim of a domain is in no namespace: it is found by the one that it names."""
    kept = {kind for _, kind in deployed_kinds() - set(REMOVED)}

    assert kept == {"Namespace", "Secret", "PersistentVolumeClaim", "ClusterDomainClaim"}


# -- admission --------------------------------------------------------------------------------


@every_combination
def test_a_cluster_admits_it(resources, components):
    features = frozenset(flags(components))

    wrong = {
        f"{document['kind']} {document['metadata']['name']}": found
        for document in combine(resources, components)
        if (found := refused(json.dumps(document), features))
    }

    assert wrong == {}


@functools.cache
def refused(document: str, features: frozenset[str]) -> list[str]:
    """All that is wrong with a resource; most are the same in many combinations."""
    content = json.loads(document)
    if is_knative(content):
        return refusals(content, features)
    if content["apiVersion"].partition("/")[0] in OPERATORS:
        return list(names.metadata(content["metadata"]))
    try:
        kubernetes_validate.validate(content, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [error.message]
    return list(names.metadata(content["metadata"]))


@pytest.mark.parametrize("component", [c for found in COMPONENTS.values() for c in found])
def test_a_component_that_needs_a_feature_says_which_and_no_other_does(component):
    half = component.partition("/")[0]
    documents = combine((f"{half}/base",), (component,))

    wrong = [found for d in documents if is_knative(d) for found in refusals(d)]

    assert {flag for found in wrong for flag in FLAG.findall(found)} == flags([component])
    assert all("the feature" in found for found in wrong)


@pytest.mark.parametrize("half", ["knative", "eventing"])
def test_every_component_and_overlay_explains_itself(half):
    folders = [*ROOT.glob(f"{half}/components/*"), *ROOT.glob("knative/overlays/*")]

    assert all((folder / "README.md").read_text().startswith("# ") for folder in folders)
    assert all(
        "kind: Component" in (folder / "kustomization.yaml").read_text()
        for folder in ROOT.glob(f"{half}/components/*")
    )


# -- what belongs together --------------------------------------------------------------------


@every_whole
def test_one_overlay_brings_both_halves_into_one_namespace(overlay):
    documents = build(ROOT / overlay)

    assert {"Broker", "Trigger", "PingSource", "Service"} <= {d["kind"] for d in documents}
    for document in documents:
        if document["kind"] not in ("Namespace", "ClusterDomainClaim"):
            assert document["metadata"]["namespace"] == "batch-gateway"


def namespaces(value: Any) -> Iterator[str]:
    """What fields of that name say, wherever they are."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "namespace" and isinstance(inner, str):
                yield inner
            else:
                yield from namespaces(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from namespaces(inner)


@pytest.mark.parametrize(
    ("half", "component"),
    [(half, component) for half, found in COMPONENTS.items() for component in found],
)
def test_a_component_moves_with_the_namespace_as_a_whole(half, component):
    documents = combine((f"{half}/base",), (component,), "other")

    found = {name for document in documents for name in namespaces(document)}
    assert found - {"rabbitmq"} == {"other"}  # where RabbitMQ itself runs


@every_whole
def test_triggers_hear_known_events_for_services_that_exist(overlay):
    documents = build(ROOT / overlay)
    (broker,) = of_kind(documents, "Broker")

    for trigger in of_kind(documents, "Trigger"):
        assert trigger["spec"]["broker"] == broker["metadata"]["name"]
        assert trigger["spec"]["filter"]["attributes"]["type"] in set(EventType)
        assert trigger["spec"]["subscriber"]["ref"]["name"] in services(documents)
    for ping in of_kind(documents, "PingSource"):
        assert ping["spec"]["sink"]["ref"]["name"] in services(documents)
    dead_letters = (broker["spec"].get("delivery") or {}).get("deadLetterSink")
    if dead_letters is not None:
        assert dead_letters["ref"]["name"] in services(documents)


@every_whole
def test_every_event_type_is_registered(overlay):
    registered = [
        attribute["value"]
        for event_type in of_kind(build(ROOT / overlay), "EventType")
        for attribute in event_type["spec"]["attributes"]
        if attribute["name"] == "type"
    ]

    assert sorted(registered) == sorted({str(type_) for type_ in EventType} - {EventType.PING})


@every_combination
def test_settings_exist_and_can_be_read(resources, components):
    for config in of_kind(combine(resources, components), "ConfigMap", "Secret"):
        content = {**(config.get("data") or {}), **(config.get("stringData") or {})}
        for name in content:
            if name.startswith("BATCH_GATEWAY_"):
                group, _, field = name.removeprefix("BATCH_GATEWAY_").lower().partition("__")
                assert field in type(Settings.model_fields[group].default).model_fields, name


@every_combination
def test_references_lead_to_something_that_exists_or_that_a_readme_asks_for(resources, components):
    documents = combine(resources, components)
    there = {(d["kind"], d["metadata"]["name"]) for d in documents}
    readmes = "".join(
        path.read_text() for path in (*ROOT.glob("*/*/*/README.md"), ROOT / "docs/cluster.md")
    )

    for document, template in pods(documents):
        spec = template["spec"]
        assert ("ServiceAccount", spec["serviceAccountName"]) in there
        for kind, name in referred(spec):
            assert (kind, name) in there or f"`{name}`" in readmes or f" {name} " in readmes, (
                document["metadata"]["name"],
                kind,
                name,
            )


def referred(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, name) of every ConfigMap, Secret and claim that a pod names."""
    for container in spec["containers"]:
        for source in container.get("envFrom", ()):
            kind = "Secret" if "secretRef" in source else "ConfigMap"
            yield kind, (source.get("secretRef") or source["configMapRef"])["name"]
        for variable in container.get("env", ()):
            if secret := (variable.get("valueFrom") or {}).get("secretKeyRef"):
                yield "Secret", secret["name"]
    for volume in spec.get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


@every_whole
def test_selectors_find_pods(overlay):
    documents = build(ROOT / overlay)
    labels = [template["metadata"]["labels"] for _, template in pods(documents)]
    broker = {"eventing.knative.dev/broker", "eventing.knative.dev/brokerRole"}

    for document in documents:
        spec = document.get("spec") or {}
        if document["kind"] == "NetworkPolicy":
            wanted = spec["podSelector"].get("matchLabels") or {}
        elif document["kind"] in ("PodDisruptionBudget", "StatefulSet"):
            wanted = spec["selector"]["matchLabels"]
        elif document["apiVersion"] == "v1" and document["kind"] == "Service":
            wanted = spec["selector"]
        else:
            continue
        if not wanted.keys() & broker:  # pods that the RabbitMQ broker makes
            name = document["metadata"]["name"]
            assert any(wanted.items() <= found.items() for found in labels), name


# -- safety -----------------------------------------------------------------------------------


@every_combination
def test_every_pod_is_confined(resources, components):
    for document, template in pods(combine(resources, components)):
        spec = template["spec"]
        name = f"{document['kind']} {document['metadata']['name']}"
        assert spec["automountServiceAccountToken"] is False, name
        for container in spec["containers"]:
            context = {**(spec.get("securityContext") or {}), **container["securityContext"]}
            assert context["runAsNonRoot"] is True, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name


@every_whole
def test_every_pod_is_behind_a_network_policy(overlay):
    documents = build(ROOT / overlay)
    selectors = [
        d["spec"]["podSelector"].get("matchLabels") or {}
        for d in of_kind(documents, "NetworkPolicy")
    ]

    for document, template in pods(documents):
        labels = template["metadata"]["labels"]
        name = f"{document['kind']} {document['metadata']['name']}"
        assert any(wanted.items() <= labels.items() for wanted in selectors), name


@every_whole
def test_all_functions_are_one_image(overlay):
    ours = {
        container["image"]
        for _, template in pods(build(ROOT / overlay))
        for container in template["spec"]["containers"]
        if "batch_gateway" in " ".join(container.get("command", ()))
    }

    assert len(ours) == 1


@every_whole
def test_no_image_is_without_a_version(overlay):
    for _, template in pods(build(ROOT / overlay)):
        for container in template["spec"]["containers"]:
            name, _, tag = container["image"].rpartition(":")
            assert name, container["image"]
            assert tag not in ("", "latest"), container["image"]


@every_whole
def test_without_work_everything_is_at_zero_unless_availability_is_asked_for(overlay):
    for name, service in services(build(ROOT / overlay)).items():
        least = service["spec"]["template"]["metadata"]["annotations"][
            "autoscaling.knative.dev/min-scale"
        ]
        assert least == ("2" if name == "api" and "production" in overlay else "0")


def test_durable_brokers_may_take_as_long_as_an_activation():
    for overlay in ("eventing/overlays/rabbitmq", "eventing/overlays/kafka"):
        (broker,) = of_kind(build(ROOT / overlay), "Broker")
        assert broker["spec"]["delivery"]["timeout"] == "PT10M"
        assert broker["spec"]["config"]["namespace"] == "batch-gateway"
    for trigger in of_kind(build(ROOT / "eventing/overlays/kafka"), "Trigger"):
        order = trigger["metadata"]["annotations"]["kafka.eventing.knative.dev/delivery.order"]
        assert order == "unordered"


# -- what it means ----------------------------------------------------------------------------


def test_the_embedded_platform_runs_what_kustomize_builds():
    built = deployment([*build(ROOT / "knative/base"), *build(ROOT / "eventing/base")])
    read = load(ROOT)

    for kind in ("services", "triggers", "pings", "bindings", "brokers"):
        by_name = [
            {getattr(f, "name", ""): f for f in getattr(whole, kind)} for whole in (built, read)
        ]
        assert by_name[0] == by_name[1]
    assert built.settings == read.settings


def test_the_calendar_for_nights_is_a_routing_file():
    documents = combine(("knative/base",), ("knative/components/gpu-night-calendar",))
    (routes,) = (d for d in documents if d["metadata"]["name"] == "batch-gateway-routes")

    checked_routes(yaml.safe_load(routes["data"]["routes.yaml"])).table()
    for service in services(documents).values():
        (container,) = service["spec"]["template"]["spec"]["containers"]
        assert "/etc/batch-gateway-routes" in {m["mountPath"] for m in container["volumeMounts"]}
