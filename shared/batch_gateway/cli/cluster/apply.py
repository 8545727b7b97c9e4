"""Applies the objects of a deployment in an order in which each finds what it refers to."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batch_gateway.cli.cluster.kube import Cluster, Refusal
from batch_gateway.cli.cluster.secrets import keep_secret, wanted_secrets
from batch_gateway.cli.cluster.standing import State, standing
from batch_gateway.cli.failing import CommandError

Object = dict[str, Any]
#: Hears what was done with each object.
Said = Callable[[str], None]

_FIRST = (
    "Namespace",
    "ServiceAccount",
    "ConfigMap",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "StatefulSet",
    "Broker",
    "SinkBinding",  # before the Services: they then start with the broker's address
    "Job",
)
_GONE_S = 60.0

_INSTALL = {
    "serving.knative.dev": "install Knative Serving",
    "eventing.knative.dev": "install Knative Eventing",
    "sources.knative.dev": "install Knative Eventing",
}


def require_kinds(cluster: Cluster, objects: Sequence[Object]) -> None:
    """Refuse to begin what cannot be ended: every kind must be known. Raises CommandError."""
    missing: dict[str, str] = {}
    for obj in objects:
        api_version, kind = obj["apiVersion"], obj["kind"]
        if cluster.kind(api_version, kind) is None:
            hint = _INSTALL.get(api_version.partition("/")[0], "install what brings it")
            if kind == "RabbitmqBrokerConfig":
                hint = "install the RabbitMQ Broker of Knative"
            missing[f"{kind} of {api_version} ({hint})"] = kind
    if missing:
        raise CommandError(f"the cluster does not know {'; nor '.join(missing)}")


def apply_all(
    cluster: Cluster,
    objects: Sequence[Object],
    *,
    given: Mapping[str, str],
    force: bool,
    dry_run: bool,
    said: Said,
) -> None:
    """Apply everything; ``given`` are secret values of this command line. Raises CommandError."""
    require_kinds(cluster, objects)
    plain = sorted((obj for obj in objects if obj["kind"] != "Secret"), key=_rank)
    namespaces = [obj for obj in plain if obj["kind"] == "Namespace"]
    new_namespace = bool(namespaces) and cluster.same(namespaces[0]) is None
    # A server judges no object of a namespace that is not there yet.
    unjudged = dry_run and new_namespace
    for obj in namespaces:
        said(f"{_name(obj)} {_applied(cluster, obj, force=force, dry_run=dry_run)}")
    for obj in wanted_secrets(list(objects), cluster.namespace):
        values = given if obj["metadata"]["name"] == "batch-gateway-secrets" else {}
        done = "created" if unjudged else keep_secret(cluster, obj, values, dry_run=dry_run)
        said(f"{_name(obj)} {done}")
    for obj in plain:
        if obj["kind"] != "Namespace":
            done = "created" if unjudged else _applied(cluster, obj, force=force, dry_run=dry_run)
            said(f"{_name(obj)} {done}")


def _rank(obj: Object) -> int:
    return _FIRST.index(obj["kind"]) if obj["kind"] in _FIRST else len(_FIRST)


def _applied(cluster: Cluster, obj: Object, *, force: bool, dry_run: bool) -> str:
    """Apply one object; returns what became of it. Raises CommandError, naming it."""
    before = cluster.same(obj)
    try:
        if obj["kind"] == "Job" and before is not None:
            if not _replaceable(before, obj):
                return "kept"
            if not dry_run:
                _remove_job(cluster, before)
                before = None
                cluster.apply(obj)
            return "replaced"
        after = cluster.apply(obj, force=force, dry_run=dry_run)
    except Refusal as refusal:
        hint = "; --force takes these fields over" if refusal.status == 409 else ""
        raise CommandError(f"{_name(obj)}: {refusal}{hint}", refusal.exit_code) from refusal
    if before is None:
        return "created"
    return "unchanged" if _same(before, after) else "configured"


def _same(before: Object, after: Object) -> bool:
    """Whether only status and bookkeeping differ."""

    def content(obj: Object) -> Object:
        metadata = obj["metadata"]
        kept = {key: metadata.get(key) for key in ("labels", "annotations")}
        return {k: v for k, v in obj.items() if k not in ("metadata", "status")} | kept

    return content(before) == content(after)


def _replaceable(before: Object, wanted: Object) -> bool:
    """A Job cannot be changed: one that is over, or of another image, makes room for a new one."""
    over = any(c["status"] == "True" for c in (before.get("status") or {}).get("conditions") or ())
    return over or standing(before).state is State.READY or _image(before) != _image(wanted)


def _image(job: Object) -> Any:
    return job["spec"]["template"]["spec"]["containers"][0]["image"]


def _remove_job(cluster: Cluster, job: Object) -> None:
    cluster.delete(job)
    until = time.monotonic() + _GONE_S
    while cluster.same(job) is not None:
        if time.monotonic() > until:
            raise CommandError(f"{_name(job)} of the last release does not go away")
        time.sleep(0.5)


def _name(obj: Object) -> str:
    group = obj["apiVersion"].rpartition("/")[0]
    return f"{obj['kind']}{'.' + group if group else ''} {obj['metadata']['name']}"
