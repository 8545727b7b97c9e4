"""Waits until everything that was applied is ready, or reports why it is not.

A controller reports failures that pass: a Service whose image is being pulled or whose database
starts, a Trigger whose subscriber comes later. Those are waited out. What cannot pass (``causes``)
ends the wait once it has lasted; a Job's failure ends it at once.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import typer

from batch_gateway.cli.cluster.diagnosis import Diagnosis, diagnose
from batch_gateway.cli.cluster.kube import ClusterApiError, ClusterClient
from batch_gateway.cli.cluster.object_status import (
    READY,
    ObjectReadiness,
    ObjectStatus,
    object_status,
)
from batch_gateway.cli.errors import BAD_END, CommandError

Object = dict[str, Any]

PAUSE_S = 1.0
LASTING_S = 30.0
"""How long what cannot pass must have lasted: the first pull may fail where the second succeeds."""


class RolloutProgressView(Protocol):
    def show(self, ready: int, total: int, waiting: Sequence[tuple[str, ObjectStatus]]) -> None: ...


def wait_for(cluster: ClusterClient, objects: Sequence[Object], timeout_s: float) -> None:
    """Return when all is ready. Raises CommandError with the causes otherwise."""
    watch = RolloutWait(cluster, objects)
    ended = watch.until(lambda: not watch.unready, timeout_s)
    if ended is not None:
        lead = f"not ready after {timeout_s:g} s" if ended.timed_out else "failed"
        raise CommandError(f"{lead}: {ended.diagnosis}", BAD_END)


class WaitFailure:
    """How a wait ended that did not find what it waited for."""

    def __init__(self, diagnosis: Diagnosis, *, timed_out: bool) -> None:
        self.diagnosis = diagnosis
        self.timed_out = timed_out


class RolloutWait:
    """Polls objects until they are ready."""

    def __init__(self, cluster: ClusterClient, objects: Sequence[Object]) -> None:
        self._cluster = cluster
        self._objects = {_name(obj): obj for obj in objects}
        self.unready = self._objects
        #: Objects with a cause that cannot pass -> when one was first and last seen.
        self._hopeless: dict[str, tuple[float, float]] = {}

    def until(self, done: Callable[[], bool], timeout_s: float) -> WaitFailure | None:
        """Look until ``done``, until what is wrong cannot pass, or until time is over."""
        until = time.monotonic() + timeout_s
        with _view() as view:
            while True:
                statuses = self._look()
                total = len(self._objects)
                view.show(total - len(self.unready), total, list(statuses.items()))
                if done():
                    return None
                diagnosis = self._diagnosis(statuses)
                now = time.monotonic()
                if self._lasting(diagnosis, statuses, now):
                    return WaitFailure(diagnosis, timed_out=False)
                if now > until:
                    return WaitFailure(diagnosis, timed_out=True)
                time.sleep(PAUSE_S)

    def _look(self) -> dict[str, ObjectStatus]:
        left = self._unready_of(self.unready)
        if not left:
            # Conditions flap: all must be ready at one time.
            left = self._unready_of(self._objects)
        self.unready = {name: self._objects[name] for name in left}
        return left

    def _unready_of(self, objects: Mapping[str, Object]) -> dict[str, ObjectStatus]:
        found = {name: _standing(self._cluster, obj) for name, obj in objects.items()}
        return {name: one for name, one in found.items() if one.state is not ObjectReadiness.READY}

    def _diagnosis(self, statuses: dict[str, ObjectStatus]) -> Diagnosis:
        pods = _pods(self._cluster)
        return diagnose(self.unready, statuses, lambda obj: [p for p in pods if _of(p, obj)])

    def _lasting(self, found: Diagnosis, statuses: dict[str, ObjectStatus], now: float) -> bool:
        """The message for a container that does not start varies, and it runs for some seconds."""
        hopeless = {name for cause in found.causes if cause.hopeless for name in cause.objects}
        for name in hopeless:
            self._hopeless[name] = self._hopeless.get(name, (now, now))[0], now
        recent = {n: seen for n, seen in self._hopeless.items() if now - seen[1] < LASTING_S}
        self._hopeless = recent
        final = any(status.final for status in statuses.values())
        return final or any(now - recent[name][0] >= LASTING_S for name in hopeless)


def _standing(cluster: ClusterClient, obj: Object) -> ObjectStatus:
    found = cluster.same(obj)
    if found is None:
        # A finished Job may have been cleaned away between two checks.
        return (
            READY if obj["kind"] == "Job" else ObjectStatus(ObjectReadiness.WAITING, "is not there")
        )
    return object_status(found)


def _pods(cluster: ClusterClient) -> list[Object]:
    """None where this user may not look: the conditions then have to do."""
    try:
        return cluster.list("v1", "Pod")
    except ClusterApiError:
        return []


def _of(pod: Object, obj: Any) -> bool:
    label = {
        "Service": "serving.knative.dev/service",
        "Job": "batch.kubernetes.io/job-name",
        "StatefulSet": "app.kubernetes.io/name",
    }.get(obj["kind"])
    labels = pod["metadata"].get("labels") or {}
    leaving = pod["metadata"].get("deletionTimestamp")
    return label is not None and labels.get(label) == obj["metadata"]["name"] and not leaving


def _name(obj: Object) -> str:
    return f"{obj['kind']} {obj['metadata']['name']}"


class _Lines:
    """A line whenever an object has become ready or has a new message."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, ready: int, total: int, waiting: Sequence[tuple[str, ObjectStatus]]) -> None:
        if (now := _line(ready, total, waiting)) != self._last:
            self._last = now
            typer.echo(now, err=True)


def _line(ready: int, total: int, waiting: Sequence[tuple[str, ObjectStatus]]) -> str:
    line = f"{ready} of {total} ready"
    if waiting:
        name, found = waiting[0]
        line += f"; {name}: {found.reason}"
    if len(waiting) > 1:
        line += f" (and {len(waiting) - 1} more)"
    return line


@contextmanager
def _view() -> "Iterator[RolloutProgressView]":
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)

    class Spinner:
        def show(self, ready: int, total: int, waiting: Sequence[tuple[str, ObjectStatus]]) -> None:
            status.update(escape(_line(ready, total, waiting)))

    with console.status("waiting") as status:
        yield Spinner()
