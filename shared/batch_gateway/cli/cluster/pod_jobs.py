"""Runs a command inside the cluster: as a Job with the environment of an executor.

Stores are out of reach from elsewhere, as they should be. The Job has the executor's image,
settings, secrets, volumes and labels, so NetworkPolicies let it through to exactly the same places.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batch_gateway.cli.cluster.build import MANAGED_BY
from batch_gateway.cli.cluster.kube import ClusterClient
from batch_gateway.cli.cluster.object_status import ObjectReadiness, object_status, troubles
from batch_gateway.cli.cluster.options import ClusterOptions
from batch_gateway.cli.errors import CommandError

Object = dict[str, Any]

PAUSE_S = 1.0
_PATIENCE_S = 180.0
_KEPT = ("image", "env", "envFrom", "securityContext", "volumeMounts")


@dataclass(frozen=True, slots=True)
class JobOutput:
    """What came of a Job."""

    ended: bool  # False: it did not, in time
    ok: bool
    says: str  # its log, or what keeps it from ending


def run_inside(
    cluster: ClusterClient, words: Sequence[str], patience_s: float = _PATIENCE_S
) -> JobOutput:
    """``batch-gateway words...``; the Job is gone afterwards. Raises CommandError."""
    executor = cluster.get("serving.knative.dev/v1", "Service", "executor")
    if executor is None:
        raise CommandError(f"there is no Batch Gateway in the namespace {cluster.namespace}")
    job = _job(cluster.namespace, executor, words)
    cluster.create(job)
    try:
        return _awaited(cluster, job, patience_s)
    finally:
        cluster.delete(job)


def print_inside(
    words: Sequence[str], place: ClusterOptions, *, patience_s: float = _PATIENCE_S
) -> None:
    """Print what ``batch-gateway words...`` writes inside. Raises CommandError when it fails."""
    ran = run_inside(place.cluster(), words, patience_s)
    if not ran.ended:
        raise CommandError(f"the Job does not end: {ran.says}")
    print(ran.says, end="" if ran.says.endswith("\n") else "\n")
    if not ran.ok:
        raise CommandError("the command has failed inside the cluster")


def _awaited(cluster: ClusterClient, job: Object, patience_s: float) -> JobOutput:
    name = job["metadata"]["name"]
    until = time.monotonic() + patience_s
    reason = ""
    while time.monotonic() < until:
        found = cluster.same(job) or job
        status = object_status(found)
        pods = cluster.list("v1", "Pod", labels=f"batch.kubernetes.io/job-name={name}")
        if pods and (status.state is ObjectReadiness.READY or status.final):
            return JobOutput(True, status.state is ObjectReadiness.READY, cluster.log(pods[-1]))
        reason = "; ".join(troubles(pods)) or status.reason
        time.sleep(PAUSE_S)
    return JobOutput(False, False, reason)


def _job(namespace: str, executor: Mapping[str, Any], words: Sequence[str]) -> Object:
    template = executor["spec"]["template"]
    pod, (container,) = template["spec"], template["spec"]["containers"]
    kept = {key: container[key] for key in _KEPT if key in container}
    labels = {**(template["metadata"].get("labels") or {}), MANAGED_BY[0]: MANAGED_BY[1]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{words[0]}-{secrets.token_hex(3)}",
            "namespace": namespace,
            "labels": dict([MANAGED_BY]),
        },
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 600,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": pod.get("serviceAccountName", "default"),
                    "automountServiceAccountToken": False,
                    "volumes": pod.get("volumes", []),
                    "containers": [
                        {
                            "name": words[0],
                            "command": ["python", "-m", "batch_gateway"],
                            "args": list(words),
                            **kept,
                        }
                    ],
                },
            },
        },
    }
