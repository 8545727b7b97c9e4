"""``batch-gateway logs``: prints the functions' logs, of a cluster or of this machine."""

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer
from typer import Argument, Option

from batch_gateway.cli.cluster.options import ClusterOptions
from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.metadata_settings import LocalPlatformOption
from batch_gateway.cli.output import JsonLines, print_json
from batch_gateway.cli.tables import print_text

if TYPE_CHECKING:
    from batch_gateway.cli.cluster.kube import ClusterClient, Object

PAUSE_S = 1.0
_RECORD = re.compile(rb"\d\d:\d\d:\d\d\.\d|\{")  # how a record begins; what follows belongs to it
_PROXY = "queue-proxy"
_SERVICE = "serving.knative.dev/service"


@report_errors
def logs(
    machine: LocalPlatformOption,
    place: ClusterOptions,
    services: Annotated[
        list[str] | None,
        Argument(metavar="SERVICE", help="Such as executor; may be several. Default: all."),
    ] = None,
    follow: Annotated[
        bool, Option("--follow", "-f", help="Continue with what is written, until Ctrl-C.")
    ] = False,
    batch: Annotated[str | None, Option(help="Only what names this batch.")] = None,
    tail: Annotated[int, Option(min=0, help="Records of each log to begin with.")] = 100,
    json: JsonLines = False,
) -> None:
    """Print the logs of the service's functions."""
    wanted = frozenset(services or ())
    if machine.data is not None:
        source: _Source = _Machine(machine.data, wanted)
    else:
        source = _Cluster(place.cluster(or_machine=True), wanted)
    first = True
    while True:
        for function, records in source.read():
            chosen = (r for r in records if batch is None or batch.encode() in r)
            for record in deque(chosen, tail) if first else chosen:
                text = record.decode(errors="replace")
                if json:
                    print_json({"function": function, "record": text.rstrip("\n")}, indent=None)
                else:
                    print_text(text.rstrip("\n"))
        first = False
        if not follow:
            return
        time.sleep(PAUSE_S)


class _Source(Protocol):
    """Logs that grow."""

    def read(self) -> Iterable[tuple[str, Iterable[bytes]]]:
        """New records of each log since the call before, with the function's name."""
        ...


class _Machine(_Source):
    """The files of the platform in a folder."""

    def __init__(self, data: Path, wanted: frozenset[str]) -> None:
        """Raises CommandError."""
        self._folder = data / "logs"
        self._wanted = wanted
        self._read: dict[Path, int] = {}
        if not self._folder.is_dir():
            raise CommandError(f"{data} is no folder of `batch-gateway up --data`: no logs", 2)
        known = {path.stem for path in self._folder.glob("*.log")}
        if missing := wanted - known:
            raise CommandError(
                f"no log of {', '.join(sorted(missing))}; there are: {', '.join(sorted(known))}", 2
            )

    def read(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        for path in sorted(self._folder.glob("*.log")):
            if not self._wanted or path.stem in self._wanted:
                yield path.stem, self._records(path)

    def _records(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as log:
            begin = self._read.get(path, 0)
            if log.seek(0, 2) < begin:  # it was set aside, and this is a new one
                begin = 0
            log.seek(begin)
            self._read[path] = begin
            for record in records(log):
                self._read[path] += len(record)
                yield record


class _Cluster(_Source):
    """The pods of a namespace."""

    def __init__(self, cluster: "ClusterClient", wanted: frozenset[str]) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._last: dict[str, bytes] = {}  # pod -> instant of the last line

    def read(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        pods = self._cluster.list("v1", "Pod", labels=_SERVICE)
        if not pods and not self._last:
            typer.echo("no function has a pod: Services without work are at zero", err=True)
        for pod in pods:
            service = pod["metadata"]["labels"][_SERVICE]
            if not self._wanted or service in self._wanted:
                yield service, records(self._lines(pod))

    def _lines(self, pod: "Object") -> Iterator[bytes]:
        """New lines of the function's container, without the instants that the cluster adds."""
        name = pod["metadata"]["name"]
        container = next(
            each["name"] for each in pod["spec"]["containers"] if each["name"] != _PROXY
        )
        last = self._last.get(name, b"")
        text = self._cluster.log(
            pod, container=container, since=last.decode() or None, timestamps=True
        )
        for line in text.encode().splitlines(keepends=True):
            instant, _, said = line.partition(b" ")
            if instant > last:
                self._last[name] = instant
                yield said if said.endswith(b"\n") else said + b"\n"


def records(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Records of a log: a line with those after it that begin none, such as a traceback's."""
    record = b""
    for line in lines:
        if not line.endswith(b"\n"):  # it is still being written
            break
        if record and _RECORD.match(line):
            yield record
            record = b""
        record += line
    if record:
        yield record
