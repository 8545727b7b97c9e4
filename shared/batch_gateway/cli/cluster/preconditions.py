"""Checks the preconditions of a deployment, and prints how to meet them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batch_gateway.cli.cluster import fixes
from batch_gateway.cli.cluster.build import CLASS
from batch_gateway.cli.cluster.kube import ClusterApiError, ClusterClient
from batch_gateway.cli.cluster.secrets import SecretChange
from batch_gateway.cli.errors import CommandError

Object = Mapping[str, Any]

_INSTALL = {
    "serving.knative.dev": "install Knative Serving",
    "networking.internal.knative.dev": "install Knative Serving",
    "eventing.knative.dev": "install Knative Eventing",
    "sources.knative.dev": "install Knative Eventing",
}
#: A kind that only an installation of that class of Brokers brings, and what brings it.
_BROKERS = {
    "Kafka": (
        "internal.kafka.eventing.knative.dev/v1alpha1",
        "ConsumerGroup",
        "the Knative Broker for Apache Kafka",
    ),
    "RabbitMQBroker": (
        "eventing.knative.dev/v1alpha1",
        "RabbitmqBrokerConfig",
        "the RabbitMQ Broker of Knative",
    ),
}
_CLAIM = ("networking.internal.knative.dev/v1alpha1", "ClusterDomainClaim")


def require(
    cluster: ClusterClient, objects: Sequence[Object], secrets: Sequence[SecretChange] | None
) -> None:
    """Refuse to begin what cannot be ended. Raises CommandError with all that is in the way.

    ``secrets``: those that the deployment makes; None: others come later; do not wait for them.
    """
    found = [
        *_unknown_kinds(cluster, objects),
        *_other_classes(cluster, objects),
        *_claims_of_others(cluster, objects),
    ]
    if secrets is not None:
        found += _missing_secrets(cluster, objects, secrets)
    if found:
        raise CommandError("nothing was changed: " + "\n  ".join(found))


def _unknown_kinds(cluster: ClusterClient, objects: Sequence[Object]) -> Iterator[str]:
    missing: dict[str, None] = {}
    for obj in objects:
        api_version, kind = obj["apiVersion"], obj["kind"]
        if cluster.kind(api_version, kind) is None:
            hint = _INSTALL.get(api_version.partition("/")[0], "install what brings it")
            if kind == "RabbitmqBrokerConfig":
                hint = f"install {_BROKERS['RabbitMQBroker'][2]}"
            missing[f"{kind} of {api_version} ({hint})"] = None
        class_ = (obj["metadata"].get("annotations") or {}).get(CLASS)
        if kind == "Broker" and class_ in _BROKERS:
            version, brought, what = _BROKERS[class_]
            if cluster.kind(version, brought) is None:
                missing[f"Brokers of class {class_} (install {what})"] = None
    if missing:
        yield f"the cluster does not know {'; nor '.join(missing)}"


def _other_classes(cluster: ClusterClient, objects: Sequence[Object]) -> Iterator[str]:
    """A Broker's class is decided when it is created."""
    for obj in objects:
        if obj["kind"] != "Broker" or (live := cluster.same(obj)) is None:
            continue
        wanted = (obj["metadata"].get("annotations") or {}).get(CLASS)
        has = (live["metadata"].get("annotations") or {}).get(CLASS)
        if wanted is not None and has not in (wanted, None):
            name = obj["metadata"]["name"]
            yield (
                f"the Broker {name} is of class {has} and cannot become {wanted}. Either keep its"
                f" class, or delete it and deploy again: {fixes.delete_broker(cluster, name)}"
                " (events on their way are lost, no work is: the janitor sends them again)"
            )


def _claims_of_others(cluster: ClusterClient, objects: Sequence[Object]) -> Iterator[str]:
    """A domain belongs to one namespace."""
    for obj in objects:
        if (obj["apiVersion"], obj["kind"]) != _CLAIM:
            continue
        try:
            live = cluster.same(obj)
        except ClusterApiError:
            continue  # only cluster administrators may look; the server still has its say
        owner = ((live or {}).get("spec") or {}).get("namespace")
        if owner not in (None, obj["spec"]["namespace"]):
            name = obj["metadata"]["name"]
            yield (
                f"the domain {name} belongs to the namespace {owner}. Uninstall there first, or"
                f" release it: {fixes.release_domain(cluster, name)}"
            )


def _missing_secrets(
    cluster: ClusterClient, objects: Sequence[Object], secrets: Sequence[SecretChange]
) -> Iterator[str]:
    """No container starts without the Secrets that its environment comes from."""
    made = {change.wanted["metadata"]["name"] for change in secrets}
    needed: dict[str, None] = {}
    for obj in objects:
        if obj["apiVersion"] == "serving.knative.dev/v1" and obj["kind"] == "Service":
            for container in obj["spec"]["template"]["spec"]["containers"]:
                for source in container.get("envFrom") or ():
                    ref = source.get("secretRef") or {"optional": True}
                    if not ref.get("optional"):
                        needed[ref["name"]] = None
    missing = [
        name for name in needed if name not in made and cluster.get("v1", "Secret", name) is None
    ]
    for home in objects:
        if missing and home["kind"] == "Namespace" and cluster.same(home) is None:
            name = home["metadata"]["name"]
            yield (
                f"the namespace {name}, which Secrets have to be in before, is not there:"
                f" {fixes.create_namespace(cluster, name)}"
            )
    for name in missing:
        yield (
            f"the Secret {name} is not there; its keys are in the README of the component that"
            f" asks for it: {fixes.create_secret(cluster, name)}"
        )
