"""``batch-gateway uninstall``: removes the service from a cluster; stored data stays by default."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from batch_gateway.cli.cluster.options import ClusterOptions
from batch_gateway.cli.cluster.recording import record_change
from batch_gateway.cli.cluster.steps import StepReporter
from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.output import JsonLines, Yes

if TYPE_CHECKING:
    from batch_gateway.cli.cluster.kube import ClusterClient

Object = dict[str, Any]

#: What is removed, in this order: sources of work, functions, the way between them, the rest.
REMOVED = (
    ("sources.knative.dev/v1", "PingSource"),
    ("eventing.knative.dev/v1", "Trigger"),
    ("serving.knative.dev/v1beta1", "DomainMapping"),
    ("serving.knative.dev/v1", "Service"),
    ("sources.knative.dev/v1", "SinkBinding"),
    ("eventing.knative.dev/v1", "Broker"),
    ("eventing.knative.dev/v1alpha1", "RabbitmqBrokerConfig"),
    ("eventing.knative.dev/v1alpha1", "EventPolicy"),
    ("eventing.knative.dev/v1beta3", "EventType"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("policy/v1", "PodDisruptionBudget"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("monitoring.coreos.com/v1alpha1", "ScrapeConfig"),
    ("apps/v1", "StatefulSet"),
    ("v1", "Service"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("v1", "ConfigMap"),
    ("v1", "ServiceAccount"),
)

_CLAIM = ("networking.internal.knative.dev/v1alpha1", "ClusterDomainClaim")
#: Groups that a user of the namespace may have no access to: then they have made nothing of it.
_OF_ADMINISTRATORS = ("networking.internal.knative.dev/", "monitoring.coreos.com/")


@report_errors
def uninstall(
    place: ClusterOptions,
    purge: Annotated[
        bool,
        Option(
            "--purge",
            help="Also delete secrets and volumes: the namespace with everything that is in it.",
        ),
    ] = False,
    yes: Yes = False,
    json: JsonLines = False,
) -> None:
    """Remove the service from a cluster; secrets, volumes and stores elsewhere are kept."""
    from batch_gateway.core.audit import AuditOutcome

    cluster, steps = place.cluster(), StepReporter(json)
    namespace = cluster.namespace
    home = cluster.get("v1", "Namespace", namespace)
    found = [] if home is None else _ours(cluster)
    if home is None or not (found or purge):
        raise CommandError(f"there is no Batch Gateway in the namespace {namespace}")
    if not yes and not typer.confirm(_question(namespace, len(found), purge=purge), err=True):
        raise CommandError("nothing was removed")
    record_change("deployment.uninstall", namespace, AuditOutcome.OK)  # the database may go with it
    for obj in found:
        cluster.delete(obj)
        steps.object(obj, "deleted")
    if purge:
        whole = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        cluster.delete(whole)
        steps.object(whole, "deleted")
    else:
        steps.note(f"secrets and volumes of the namespace {namespace} are kept")


def _ours(cluster: "ClusterClient") -> list[Object]:
    from batch_gateway.cli.cluster.build import MANAGED_BY

    label = "=".join(MANAGED_BY)
    found = [obj for version, kind in REMOVED for obj in _listed(cluster, version, kind, label)]
    # Claims of domains are in no namespace, and may be of others.
    claims = _listed(cluster, *_CLAIM, label)
    return [*found, *(one for one in claims if one["spec"]["namespace"] == cluster.namespace)]


def _listed(cluster: "ClusterClient", version: str, kind: str, label: str) -> list[Object]:
    from batch_gateway.cli.cluster.kube import ClusterApiError

    try:
        return cluster.list(version, kind, labels=label)
    except ClusterApiError:
        if version.startswith(_OF_ADMINISTRATORS):
            return []
        raise


def _question(namespace: str, count: int, *, purge: bool) -> str:
    if purge:
        return (
            f"Delete the namespace {namespace} with ALL that is in it, secrets and stored data"
            " included?"
        )
    return f"Delete {count} objects of the Batch Gateway in the namespace {namespace}?"
