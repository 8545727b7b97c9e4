"""Running objects of a cluster, or processes of one machine."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_gateway.cli.cluster.kinds import WITH_STATUS
from batch_gateway.cli.cluster.object_status import ObjectReadiness, object_status, troubles
from batch_gateway.cli.errors import CommandError
from batch_gateway.cli.tables import Row, columns

if TYPE_CHECKING:
    from batch_gateway.cli.cluster.kube import ClusterClient

Object = dict[str, Any]

SERVING = "serving.knative.dev/v1"
_SERVE = b"batch_gateway.web.serve"  # the module that functions run
_CLASS = "eventing.knative.dev/broker.class"


@dataclass(frozen=True, slots=True)
class StatusTable:
    name: str
    titles: Row
    rows: Sequence[Row]

    def lines(self) -> Iterator[str]:
        return columns([self.titles, *self.rows])

    def plain(self) -> list[dict[str, str]]:
        """For JSON: an object for each row."""
        names = [title.lower() for title in self.titles]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def on_cluster(cluster: "ClusterClient") -> Iterator[StatusTable]:
    """Services with revision and pods, then everything else that has a status.

    Raises CommandError.
    """
    services = cluster.list(SERVING, "Service")
    if not services:
        raise CommandError(f"there is no Batch Gateway in the namespace {cluster.namespace}")
    pods = _by_service(cluster.list("v1", "Pod"))
    titles = ("SERVICE", "READY", "REVISION", "PODS", "SAYS")
    yield StatusTable("services", titles, [_service(service, pods) for service in services])
    rows = [
        (kind.upper(), _name(obj), *_stand(obj))
        for version, kind, _ in WITH_STATUS
        if (version, kind) != (SERVING, "Service")
        for obj in cluster.list(version, kind)
    ]
    yield StatusTable("objects", ("KIND", "NAME", "READY", "SAYS"), rows)


def _service(service: Object, pods: dict[str, list[Object]]) -> tuple[str, ...]:
    name = service["metadata"]["name"]
    revision = (service.get("status") or {}).get("latestReadyRevisionName", "-")
    ready, says = _stand(service)
    says = "; ".join(part for part in (says, *troubles(pods.get(name, []))) if part)
    return (name, ready, revision, str(len(pods.get(name, []))), says)


def _stand(obj: Object) -> tuple[str, str]:
    found = object_status(obj)
    ready = {
        ObjectReadiness.READY: "yes",
        ObjectReadiness.WAITING: "not yet",
        ObjectReadiness.FAILED: "NO",
    }[found.state]
    return ready, found.reason


def _name(obj: Object) -> str:
    metadata = obj["metadata"]
    class_ = (metadata.get("annotations") or {}).get(_CLASS)
    return str(metadata["name"]) + (f" ({class_})" if class_ else "")


def _by_service(pods: list[Object]) -> dict[str, list[Object]]:
    """Pods that are not on their way out, by the Service that they are of."""
    found: dict[str, list[Object]] = {}
    for pod in pods:
        metadata = pod["metadata"]
        service = (metadata.get("labels") or {}).get("serving.knative.dev/service")
        if service and not metadata.get("deletionTimestamp"):
            found.setdefault(service, []).append(pod)
    return found


def on_machine(data: Path) -> Iterator[StatusTable]:
    """The functions of the platform that runs on the folder ``data``, with their processes."""
    from batch_gateway.local import manifests

    pids = _processes(_platform(data))
    rows = [
        (service.name, " ".join(map(str, pids.get(service.name, []))) or "at zero")
        for service in manifests.load(manifests.deployment_root()).services
    ]
    yield StatusTable("services", ("SERVICE", "PROCESSES"), rows)


def url_of(data: Path) -> str:
    """Where the platform on ``data`` listens. Raises CommandError."""
    _platform(data)
    try:
        return (data / "run" / "url").read_text()
    except OSError as error:
        raise CommandError(f"the platform on {data} is still starting") from error


def _platform(data: Path) -> int:
    """The process that holds the folder. Raises CommandError."""
    import fcntl

    try:
        with (data / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read())
    except OSError as error:
        raise CommandError(f"{data} is no folder of `batch-gateway up`") from error
    raise CommandError(f"no platform runs on {data}")


def _processes(platform: int) -> dict[str, list[int]]:
    """Functions and the processes that run them for ``platform``; Linux only.

    They are children of the process that it forks functions from, or its own.
    """
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # gone
            continue
    found: dict[str, list[int]] = {}
    for pid, parent in sorted(parents.items()):
        if platform in (parent, parents.get(parent)) and (service := _service_of(pid)):
            found.setdefault(service, []).append(pid)
    return found


def _service_of(pid: int) -> str | None:
    """The function that a process runs: by its command line, or by what its program was given.

    A forked process has the environment of the one that it was forked from.
    """
    folder = Path("/proc") / str(pid)
    try:
        words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        variables = (folder / "environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return None
    if words[1:3] == [b"-m", _SERVE]:
        return os.fsdecode(words[-1])
    given = (one.partition(b"=") for one in variables)
    return next((os.fsdecode(value) for name, _, value in given if name == b"K_SERVICE"), None)
