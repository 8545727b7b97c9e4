"""Builds every command that ``deploy``, ``doctor`` and the like print for a person to run.

Each works as printed: in a shell, on the cluster that the printing command has used.
tests/integration/cluster/test_fixes.py runs each.
"""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch_gateway.cli.cluster.kube import ClusterClient

_KNATIVE_SERVING = "knative-serving"


def describe(
    cluster: "ClusterClient", kind: str, name: str, *, namespace: str | None = None
) -> str:
    """Shows the conditions and events of an object; ``namespace``: another one than ours."""
    return _kubectl(cluster, "describe", kind, name, namespace=namespace or cluster.namespace)


def describe_namespace(cluster: "ClusterClient", name: str) -> str:
    """Shows what keeps a namespace that is being deleted."""
    return _kubectl(cluster, "describe", "namespace", name)


def events(cluster: "ClusterClient") -> str:
    """Shows what controllers have reported."""
    return _kubectl(cluster, "get", "events", namespace=cluster.namespace)


def annotate_broker(cluster: "ClusterClient", name: str, annotation: str, value: str) -> str:
    words = ("annotate", "--overwrite", "broker", name, f"{annotation}={value}")
    return _kubectl(cluster, *words, namespace=cluster.namespace)


def set_for_knative(cluster: "ClusterClient", config: str, name: str, value: str) -> str:
    """Changes one value in a ConfigMap of Knative Serving."""
    patch = json.dumps({"data": {name: value}}, separators=(",", ":"))
    words = ("patch", "configmap", config, "--type", "merge", "-p", patch)
    return _kubectl(cluster, *words, namespace=_KNATIVE_SERVING)


def edit_config_map(cluster: "ClusterClient", name: str) -> str:
    """Opens a ConfigMap in an editor."""
    return _kubectl(cluster, "edit", "configmap", name, namespace=cluster.namespace)


def delete_broker(cluster: "ClusterClient", name: str) -> str:
    return _kubectl(cluster, "delete", "broker", name, namespace=cluster.namespace)


def release_domain(cluster: "ClusterClient", name: str) -> str:
    """Lets another namespace claim the domain."""
    return _kubectl(cluster, "delete", "clusterdomainclaim", name)


def create_namespace(cluster: "ClusterClient", name: str) -> str:
    return _kubectl(cluster, "create", "namespace", name)


def create_secret(cluster: "ClusterClient", name: str) -> str:
    """Makes a Secret; a person has to write keys and values of the component into it."""
    words = ("create", "secret", "generic", name, "--from-literal=KEY=VALUE")
    return _kubectl(cluster, *words, namespace=cluster.namespace)


def deploy_first(cluster: "ClusterClient") -> str:
    """Installs what needs nothing else."""
    return _deploy(cluster, "--overlay trial")


def deploy_again(cluster: "ClusterClient", *words: str) -> str:
    """Repeats the last deployment; ``words`` are further ones, as a shell reads them."""
    return _deploy(cluster, *words)


def migrate() -> str:
    """Brings the database that the environment names to this release's schema."""
    return "batch-gateway migrate"


def protect_file(path: Path) -> str:
    """Keeps a file from all but its owner."""
    return shlex.join(("chmod", "600", str(path)))


def start_platform(data: Path) -> str:
    return shlex.join(("batch-gateway", "up", "--data", str(data)))


def show_logs_of_api(data: Path) -> str:
    return shlex.join(("batch-gateway", "logs", "api", "--data", str(data)))


def _deploy(cluster: "ClusterClient", *words: str) -> str:
    first = ("batch-gateway", "deploy", *cluster.chosen, "-n", cluster.namespace)
    return " ".join((shlex.join(first), *words))


def _kubectl(cluster: "ClusterClient", *words: str, namespace: str | None = None) -> str:
    place = ("-n", namespace) if namespace is not None else ()
    return shlex.join(("kubectl", *cluster.chosen, *place, *words))
