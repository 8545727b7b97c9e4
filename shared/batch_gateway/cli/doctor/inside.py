"""Store checks that run inside the cluster."""

from batch_gateway.cli.cluster import fixes
from batch_gateway.cli.cluster.kube import ClusterClient
from batch_gateway.cli.cluster.pod_jobs import run_inside
from batch_gateway.cli.doctor.findings import DoctorFinding, error, parsed


def findings_inside(cluster: ClusterClient) -> list[DoctorFinding]:
    """What ``doctor --stores`` finds inside. Raises CommandError."""
    ran = run_inside(cluster, ["doctor", "--stores", "--json"])
    if not ran.ended:
        what = f"the Job that checks the stores does not end: {ran.says}"
        return [error(what, fixes.events(cluster))]
    return [finding for line in ran.says.splitlines() for finding in parsed(line)]
