"""Waits until everything that was applied is ready, and says why when it does not become so.

A controller may report a failure that passes (a Service whose database is being migrated, a
Trigger whose subscriber comes later), so only one that lasts counts. A Job's is final.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import typer

from batch_gateway.cli.cluster.kube import Cluster
from batch_gateway.cli.cluster.standing import READY, Standing, State, standing, troubles
from batch_gateway.cli.failing import BAD_END, CommandError

Object = dict[str, Any]

PAUSE_S = 1.0
LASTING_S = 30.0
"""How long a failure must last to count."""


class View(Protocol):
    def show(self, ready: int, total: int, waiting: Sequence[tuple[str, Standing]]) -> None: ...


def wait_for(cluster: Cluster, objects: Sequence[Object], timeout_s: float) -> None:
    """Return when all is ready. Raises CommandError with all reasons otherwise."""
    waiting = {_name(obj): obj for obj in objects}
    total = len(waiting)
    until = time.monotonic() + timeout_s
    failing_since: dict[str, float] = {}
    with _view() as view:
        while True:
            standings = {name: _standing(cluster, obj) for name, obj in waiting.items()}
            for name, found in standings.items():
                if found == READY:
                    waiting.pop(name)
            now = time.monotonic()
            left = {name: found for name, found in standings.items() if found != READY}
            view.show(total - len(left), total, list(left.items()))
            if not left:
                return
            failed = set(_failed(left, failing_since, now))
            if failed or now > until:
                told = failed or set(left)
                reasons = _reasons(cluster, {n: waiting[n] for n in waiting if n in told}, left)
                lead = "failed" if failed else f"not ready after {timeout_s:g} s"
                raise CommandError(f"{lead}: {'; '.join(reasons)}", BAD_END)
            time.sleep(PAUSE_S)


def _standing(cluster: Cluster, obj: Object) -> Standing:
    found = cluster.same(obj)
    if found is None:
        # A finished Job may have been cleaned away between two looks.
        return READY if obj["kind"] == "Job" else Standing(State.WAITING, "is not there")
    return standing(found)


def _failed(left: dict[str, Standing], since: dict[str, float], now: float) -> Iterator[str]:
    for name, found in left.items():
        if found.state is not State.FAILED:
            since.pop(name, None)
        elif found.final or now - since.setdefault(name, now) >= LASTING_S:
            yield name


def _reasons(
    cluster: Cluster, objects: dict[str, Object], standings: dict[str, Standing]
) -> Iterator[str]:
    """What each object says, and what its pods say."""
    for name, obj in objects.items():
        found = troubles(_pods(cluster, obj))
        yield f"{name}: {standings[name].reason}" + (f" ({'; '.join(found)})" if found else "")


def _pods(cluster: Cluster, obj: Object) -> list[Object]:
    name = obj["metadata"]["name"]
    label = {
        "Service": f"serving.knative.dev/service={name}",
        "Job": f"batch.kubernetes.io/job-name={name}",
        "StatefulSet": f"app.kubernetes.io/name={name}",
    }.get(obj["kind"])
    return cluster.list("v1", "Pod", labels=label) if label else []


def _name(obj: Object) -> str:
    return f"{obj['kind']} {obj['metadata']['name']}"


class _Lines:
    """A line whenever something has become ready or says something else."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, ready: int, total: int, waiting: Sequence[tuple[str, Standing]]) -> None:
        if (now := _line(ready, total, waiting)) != self._last:
            self._last = now
            typer.echo(now, err=True)


def _line(ready: int, total: int, waiting: Sequence[tuple[str, Standing]]) -> str:
    line = f"{ready} of {total} ready"
    if waiting:
        name, found = waiting[0]
        line += f"; {name}: {found.reason}"
    if len(waiting) > 1:
        line += f" (and {len(waiting) - 1} more)"
    return line


@contextmanager
def _view() -> "Iterator[View]":
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)

    class Spinner:
        def show(self, ready: int, total: int, waiting: Sequence[tuple[str, Standing]]) -> None:
            status.update(escape(_line(ready, total, waiting)))

    with console.status("waiting") as status:
        yield Spinner()
