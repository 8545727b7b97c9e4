"""The checks of the stores, made where the functions are: by a Job with an executor's environment.

Stores are out of reach from elsewhere, as they should be. The Job has the executor's image,
settings, secrets, volumes and labels, so NetworkPolicies let it through to exactly the same places.
"""

import secrets
import time
from collections.abc import Mapping
from typing import Any

from batch_gateway.cli.cluster.build import MANAGED_BY
from batch_gateway.cli.cluster.kube import Cluster
from batch_gateway.cli.cluster.standing import READY, standing, troubles
from batch_gateway.cli.doctor.findings import Finding, error, parsed

Object = dict[str, Any]

PAUSE_S = 1.0
_PATIENCE_S = 180.0
_KEPT = ("image", "env", "envFrom", "securityContext", "volumeMounts")


def findings_inside(cluster: Cluster, executor: Mapping[str, Any]) -> list[Finding]:
    """What the Job has found; it is gone afterwards. Raises CommandError."""
    job = _job(cluster.namespace, executor)
    cluster.create(job)
    try:
        return _awaited(cluster, job)
    finally:
        cluster.delete(job)


def _awaited(cluster: Cluster, job: Object) -> list[Finding]:
    name = job["metadata"]["name"]
    until = time.monotonic() + _PATIENCE_S
    reason = ""
    while time.monotonic() < until:
        found = cluster.same(job) or job
        stand = standing(found)
        pods = cluster.list("v1", "Pod", labels=f"batch.kubernetes.io/job-name={name}")
        if pods and (stand == READY or stand.final):
            return [
                finding for line in cluster.log(pods[-1]).splitlines() for finding in parsed(line)
            ]
        reason = "; ".join(troubles(pods)) or stand.reason
        time.sleep(PAUSE_S)
    where = f"kubectl -n {cluster.namespace} get events"
    return [error(f"the Job that checks the stores does not end: {reason}", where)]


def _job(namespace: str, executor: Mapping[str, Any]) -> Object:
    template = executor["spec"]["template"]
    pod, (container,) = template["spec"], template["spec"]["containers"]
    kept = {key: container[key] for key in _KEPT if key in container}
    labels = {**(template["metadata"].get("labels") or {}), MANAGED_BY[0]: MANAGED_BY[1]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"doctor-{secrets.token_hex(3)}",
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
                            "name": "doctor",
                            "command": ["python", "-m", "batch_gateway"],
                            "args": ["doctor", "--stores", "--json"],
                            **kept,
                        }
                    ],
                },
            },
        },
    }
