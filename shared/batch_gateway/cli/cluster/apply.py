"""Applies the objects of a deployment: all of them, or none.

First everything is judged (``judging``): a refusal, or a decision of a person that would be undone,
ends the deployment before it begins. Then the objects are applied in an order in which each finds
what it refers to. The functions come last, when the broker's address is known (``sinks``).
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batch_gateway.cli.cluster import fixes
from batch_gateway.cli.cluster.digests import mark_settings, sources
from batch_gateway.cli.cluster.dry_run import DryRun, DryRunResult
from batch_gateway.cli.cluster.kube import ClusterApiError, ClusterClient
from batch_gateway.cli.cluster.ownership import with_injected
from batch_gateway.cli.cluster.preconditions import require
from batch_gateway.cli.cluster.releases import Releases
from batch_gateway.cli.cluster.rollout import RolloutWait
from batch_gateway.cli.cluster.secrets import SecretChange
from batch_gateway.cli.cluster.settings_check import require_settings
from batch_gateway.cli.cluster.sinks import (
    address,
    bind_to,
    is_settings,
    plan_sink,
    put_sink,
    without_sink,
)
from batch_gateway.cli.cluster.steps import StepReporter
from batch_gateway.cli.errors import CommandError

Object = dict[str, Any]

_FIRST = (
    "Namespace",
    "ServiceAccount",
    "ConfigMap",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "StatefulSet",
    "RabbitmqBrokerConfig",
    "ClusterDomainClaim",
    "Broker",
    "Job",
    "SinkBinding",
)
_HOME = 1  # the namespace and its accounts come before all else
_SERVING = "serving.knative.dev/v1"
_ROLLOUT = "serving.knative.dev/rollout-duration"
_GONE_S = 60.0
PAUSE_S = 0.5
#: How long the functions wait for the broker's address before a SinkBinding has to bring it.
ADDRESS_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDeployment:
    """What shall be on the cluster, and how much is known about it."""

    objects: list[Object]  # without Secrets
    secrets: list[SecretChange]
    what: str  # for the record: the overlay,
    options: Mapping[str, Any]  # and what the command line has set beside it
    said: Collection[str] = ()  # variables of the ConfigMap that the command line names
    force: bool = False
    #: Whether it was applied before, by another release perhaps: its settings are not judged then.
    is_rollback: bool = False
    wait: bool = True
    timeout_s: float = 600  # most to wait for the broker's address, and for all of it afterwards


def apply_objects(
    cluster: ClusterClient, wanted: PlannedDeployment, steps: StepReporter
) -> list[Object]:
    """Judge, apply and record; returns what was applied. Raises CommandError."""
    _await_end(cluster, wanted.objects, steps)
    require(cluster, wanted.objects, wanted.secrets if wanted.wait else None)
    made = _make_home(cluster, wanted.objects)
    try:
        run = _Run(cluster, wanted)
        run.judge()
    except CommandError:
        for obj in reversed(made):
            cluster.delete(obj)
        raise
    return run.apply(steps, made)


def dry_run_objects(
    cluster: ClusterClient, wanted: PlannedDeployment, steps: StepReporter
) -> tuple[int, str]:
    """Judge, and say what would be done; returns how many objects cannot be judged yet, and why.

    Raises CommandError.
    """
    require(cluster, wanted.objects, wanted.secrets if wanted.wait else None)
    homes = [obj for obj in wanted.objects if obj["kind"] == "Namespace"]
    if homes and _is_leaving(cluster.same(homes[0]), gone=True):
        return _rehearse_in_nothing(cluster, wanted, steps)
    run = _Run(cluster, wanted)
    run.judge()
    for change in wanted.secrets:
        change.make(cluster, dry_run=True)
        _tell(steps, change.wanted, change.done)
    for result in run.results:
        _tell(steps, result.obj, result.done)
    return 0, ""


def _rehearse_in_nothing(
    cluster: ClusterClient, wanted: PlannedDeployment, steps: StepReporter
) -> tuple[int, str]:
    """A server judges no object of a namespace that is not there, or on its way out."""
    require_settings(wanted.objects, _own_contents(wanted))
    judge, unjudged = DryRun(cluster, force=wanted.force), len(wanted.secrets)
    why = f"there is no namespace {cluster.namespace} yet"
    for obj in sorted(wanted.objects, key=_rank):
        if "namespace" in obj["metadata"]:
            _tell(steps, obj, "would be created, not judged")
            unjudged += 1
            continue
        if obj["kind"] == "Namespace" and _is_leaving(cluster.same(obj), gone=False):
            why = f"the namespace {cluster.namespace} is being deleted"
            _tell(steps, obj, "is being deleted: would be created when it is gone")
            continue
        result = judge.judge(obj)
        if result.refused:
            raise CommandError(f"{_name(obj)}: {result.refused}", result.exit_code)
        _tell(steps, obj, result.done)
    for change in wanted.secrets:
        _tell(steps, change.wanted, "would be created, not judged")
    return unjudged, why


def _own_contents(wanted: PlannedDeployment) -> dict[tuple[str, str], Mapping[str, str]]:
    """What the deployment's own ConfigMaps and Secrets hold."""
    found: dict[tuple[str, str], Mapping[str, str]] = {
        ("Secret", change.wanted["metadata"]["name"]): change.contents for change in wanted.secrets
    }
    for obj in wanted.objects:
        if obj["kind"] == "ConfigMap":
            found["ConfigMap", obj["metadata"]["name"]] = obj.get("data") or {}
    return found


def _is_leaving(home: Object | None, *, gone: bool) -> bool:
    """Whether a namespace is being deleted; ``gone``: what one that is not there counts as."""
    return gone if home is None else "deletionTimestamp" in home["metadata"]


def _await_end(cluster: ClusterClient, objects: Sequence[Object], steps: StepReporter) -> None:
    """Nothing can be created in a namespace that is being deleted. Raises CommandError."""
    for home in objects:
        if home["kind"] != "Namespace" or not _is_leaving(cluster.same(home), gone=False):
            continue
        steps.note(f"{_name(home)} is being deleted: waiting until it is gone")
        until = time.monotonic() + _GONE_S
        while _is_leaving(cluster.same(home), gone=False):
            if time.monotonic() > until:
                name = home["metadata"]["name"]
                raise CommandError(
                    f"nothing was changed: the namespace {name} is still being deleted; what keeps"
                    f" it: {fixes.describe_namespace(cluster, name)}"
                )
            time.sleep(PAUSE_S)


def _make_home(cluster: ClusterClient, objects: Sequence[Object]) -> list[Object]:
    """Namespace and service accounts, without which nothing else can be judged; those made now."""
    made = []
    for kind in ("Namespace", "ServiceAccount"):
        for obj in objects:
            if obj["kind"] == kind and cluster.same(obj) is None:
                cluster.apply(obj)
                made.append(obj)
    return made


class _Run:
    """One deployment on its way."""

    def __init__(self, cluster: ClusterClient, wanted: PlannedDeployment) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._releases = Releases(cluster)
        last = self._releases.last_applied()
        fields = {f".data.{name}" for name in wanted.said}
        self._judge = DryRun(
            cluster, force=wanted.force, last=last.objects if last else (), said=fields
        )
        self._sink = plan_sink(cluster, wanted.objects, wait=wanted.wait)
        self.results: list[DryRunResult] = []

    # -- judging ------------------------------------------------------------------------------

    def judge(self) -> None:
        """Raises CommandError with everything that is refused."""
        objects = sorted(self._sink.objects, key=_rank)
        settings = [obj for obj in objects if obj["kind"] == "ConfigMap"]
        results = {_name(obj): self._judge.judge(obj) for obj in settings}
        self._contents: dict[tuple[str, str], Mapping[str, str]] = {
            ("ConfigMap", v.obj["metadata"]["name"]): (v.after or {}).get("data") or {}
            for v in results.values()
        }
        for change in self._wanted.secrets:
            self._contents["Secret", change.wanted["metadata"]["name"]] = change.contents
        self._read_the_rest(objects)
        if not self._wanted.is_rollback:
            require_settings(objects, self._contents)
        mark_settings(objects, self._contents, self._releases.salt)
        for obj in objects:
            if obj["kind"] != "ConfigMap":
                results[_name(obj)] = self._judge.judge(self._finished(obj))
        self.results = [results[_name(obj)] for obj in objects]
        for change in self._wanted.secrets:
            change.make(self._cluster, dry_run=True)
        refused = [result for result in self.results if result.refused]
        if refused:
            told = "\n  ".join(f"{_name(v.obj)}: {v.refused}" for v in refused)
            raise CommandError(f"nothing was changed: {told}", refused[0].exit_code)

    def _read_the_rest(self, objects: Sequence[Object]) -> None:
        """ConfigMaps and Secrets of the cluster that Services read and the overlay lacks."""
        for obj in objects:
            if not _is_function(obj):
                continue
            for kind, name in sources(obj) - self._contents.keys():
                try:
                    found = self._cluster.get("v1", kind, name)
                except ClusterApiError:
                    found = None  # this user may not look: its changes make no new revision
                if found is not None:
                    self._contents[kind, name] = found.get("data") or {}

    def _finished(self, obj: Object) -> Object:
        """A Service with what depends on the one that is there."""
        if not _is_function(obj):
            return obj
        live = self._cluster.same(obj)
        if self._sink.bound:
            obj = with_injected(obj, live)
        annotations = obj["metadata"].get("annotations") or {}
        if _ROLLOUT in annotations and "latestReadyRevisionName" not in _status(live):
            # There is no older revision that could serve meanwhile.
            kept = {key: value for key, value in annotations.items() if key != _ROLLOUT}
            obj = {**obj, "metadata": {**obj["metadata"], "annotations": kept}}
        return obj

    # -- applying -----------------------------------------------------------------------------

    def apply(self, steps: StepReporter, made: Sequence[Object]) -> list[Object]:
        created, secrets = {_name(obj) for obj in made}, list(self._wanted.secrets)
        broker = self._sink.broker
        later = [] if broker is None else [v for v in self.results if _sends(v.obj, broker)]
        first = [v for v in self.results if all(v is not other for other in later)]
        # A rollback that is interrupted is begun again: it is no release to go back from.
        number = None if self._wanted.is_rollback else self._record(applied=False)
        for result in first:
            if _rank(result.obj) > _HOME and secrets:
                self._make_secrets(secrets, steps)
            self._apply(result, steps, created)
        if broker is not None:
            later = self._with_address(broker, first, later, steps)
        for result in later:
            self._apply(result, steps, created)
        if self._sink.lost is not None:
            self._bind(self._sink.lost, first)
        if number is None:
            self._record(applied=True)
        else:
            self._releases.complete(number)
        return [result.obj for result in (*first, *later)]

    def _make_secrets(self, secrets: list[SecretChange], steps: StepReporter) -> None:
        while secrets:
            change = secrets.pop(0)
            change.make(self._cluster)
            _tell(steps, change.wanted, change.done)

    def _record(self, *, applied: bool) -> int:
        """As the overlay has it: an address that was found is found anew when it comes back."""
        objects = [*self._sink.objects, *self._sink.bindings]
        if self._sink.found:
            objects = without_sink(objects)
        replaced = {c.wanted["metadata"]["name"]: c.replaced for c in self._wanted.secrets}
        return self._releases.add(
            self._wanted.what,
            objects,
            self._wanted.options,
            {name: keys for name, keys in replaced.items() if keys},
            applied=applied,
        )

    def _apply(self, result: DryRunResult, steps: StepReporter, created: Collection[str]) -> None:
        obj, name = result.obj, _name(result.obj)
        try:
            if result.done == "replaced":
                _remove_job(self._cluster, obj)
                self._cluster.apply(obj)
            elif result.done != "kept":
                self._judge.apply(result)
        except ClusterApiError as refusal:
            raise CommandError(f"{name}: {refusal}", refusal.exit_code) from refusal
        _tell(steps, obj, "created" if name in created else result.done)

    def _with_address(
        self,
        broker: Object,
        first: Sequence[DryRunResult],
        later: Sequence[DryRunResult],
        steps: StepReporter,
    ) -> list[DryRunResult]:
        """The functions with the broker's address among their settings, or with a SinkBinding."""
        url = self._await_address(broker, first)
        if url is None:
            steps.note("the Broker has no address yet: a SinkBinding will give it to the functions")
            return [*(self._judge.judge(binding) for binding in self._sink.bindings), *later]
        for result in first:
            if is_settings(result.obj):
                put_sink([result.obj], url)
                self._judge.apply(result)
                key = ("ConfigMap", result.obj["metadata"]["name"])
                self._contents[key] = {**self._contents[key], **result.obj["data"]}
        self._sink.found = True
        mark_settings([result.obj for result in later], self._contents, self._releases.salt)
        return list(later)

    def _bind(self, broker: Object, applied: Sequence[DryRunResult]) -> None:
        """Make the controller of a SinkBinding read a new Broker."""
        self._await_address(broker, applied)
        for result in applied:
            if result.obj["kind"] == "SinkBinding" and bind_to(self._cluster, result.obj, broker):
                self._judge.apply(result)

    def _await_address(self, broker: Object, applied: Sequence[DryRunResult]) -> str | None:
        """The Broker's address; None: it has none in time."""
        needed = [v.obj for v in applied if v.obj["kind"] in ("StatefulSet", "Job", "Broker")]
        needed += [v.obj for v in applied if _is_function(v.obj)]
        patience_s = min(ADDRESS_S, self._wanted.timeout_s)
        watch = RolloutWait(self._cluster, needed)
        watch.until(lambda: address(self._cluster, broker) is not None, patience_s)
        return address(self._cluster, broker)


def _sends(obj: Object, broker: Object) -> bool:
    """Whether it is a function that sends events: the dead letter sink is none."""
    delivery = (broker.get("spec") or {}).get("delivery") or {}
    sink = ((delivery.get("deadLetterSink") or {}).get("ref") or {}).get("name")
    return _is_function(obj) and bool(obj["metadata"]["name"] != sink)


def _is_function(obj: Object) -> bool:
    return bool(obj["apiVersion"] == _SERVING and obj["kind"] == "Service")


def _status(live: Object | None) -> Object:
    return (live or {}).get("status") or {}


def _rank(obj: Object) -> int:
    return _FIRST.index(obj["kind"]) if obj["kind"] in _FIRST else len(_FIRST)


def _remove_job(cluster: ClusterClient, job: Object) -> None:
    cluster.delete(job)
    until = time.monotonic() + _GONE_S
    while cluster.same(job) is not None:
        if time.monotonic() > until:
            raise CommandError(f"{_name(job)} of the last release does not go away")
        time.sleep(PAUSE_S)


def _tell(steps: StepReporter, obj: Object, result: str) -> None:
    steps.object(obj, result, called=_name(obj))


def _name(obj: Object) -> str:
    group = obj["apiVersion"].rpartition("/")[0]
    return f"{obj['kind']}{'.' + group if group else ''} {obj['metadata']['name']}"
