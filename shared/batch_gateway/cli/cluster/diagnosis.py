"""Finds out why a deployment is not ready.

One missing image makes thirty objects unready. An object that refers to another unready one waits
for it; what remains are the causes, told once each, however many objects say the same.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batch_gateway.cli.cluster.object_status import ObjectReadiness, ObjectStatus, causes

Object = Mapping[str, Any]

#: What no waiting changes: it takes another image, another setting, another owner.
_HOPELESS = re.compile(
    r"(ImagePullBackOff|ErrImagePull|Unable to fetch image).*"
    r"(not found|no such|404|manifest unknown|denied|unauthorized|401|403)"
    r"|InvalidImageName|CreateContainerConfigError|CrashLoopBackOff|DomainAlreadyClaimed"
    r"|admission webhook .* denied",
    re.IGNORECASE,
)
_MANY = 4


@dataclass(frozen=True, slots=True)
class FailureCause:
    text: str
    objects: tuple[str, ...]  # that have it, as ``kind name``
    hopeless: bool  # it does not pass by itself

    def __str__(self) -> str:
        return f"{self.text} ({listed(self.objects)})"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    causes: tuple[FailureCause, ...]
    waiting: tuple[str, ...]  # objects that only wait for them

    def __str__(self) -> str:
        lines = [str(cause) for cause in self.causes]
        if self.waiting:
            lines.append(f"waiting for that: {listed(self.waiting)}")
        return "\n  ".join(lines)


def diagnose(
    unready: Mapping[str, Object],
    statuses: Mapping[str, ObjectStatus],
    pods: Callable[[Object], list[Any]],
) -> Diagnosis:
    """``unready``: objects by ``kind name``; ``pods`` finds those of an object."""
    found: dict[str, list[str]] = {}
    final: set[str] = set()
    waiting = []
    for name, obj in unready.items():
        own = causes(pods(obj))
        status = statuses[name]
        told = own or [status.reason]
        if any(_HOPELESS.search(text) for text in told) or status.final:
            told = [text for text in told if _HOPELESS.search(text)] or told
            final |= set(told)
        elif not own and any(needed in unready for needed in needs(obj)):
            waiting.append(name)
            continue
        for text in told[:1]:
            found.setdefault(text, []).append(name)
    all_causes = [FailureCause(text, tuple(names), text in final) for text, names in found.items()]
    all_causes.sort(key=lambda cause: (not cause.hopeless, not _failed(cause, statuses)))
    return Diagnosis(tuple(all_causes), tuple(waiting))


def needs(obj: Object) -> Iterator[str]:
    """Objects, as ``kind name``, without which this one does not become ready."""
    kind, spec = obj["kind"], obj.get("spec") or {}
    if kind in ("Service", "Job"):
        yield from _STORES
    if kind == "Service":
        yield "Job migrate"
    for ref in (
        ((spec.get("delivery") or {}).get("deadLetterSink") or {}).get("ref"),
        (spec.get("subscriber") or {}).get("ref"),
        (spec.get("sink") or {}).get("ref"),
        spec.get("ref"),
    ):
        if ref:
            yield f"{ref['kind']} {ref['name']}"
    if kind == "Trigger":
        yield f"Broker {spec['broker']}"


_STORES = ("StatefulSet postgresql", "StatefulSet valkey", "StatefulSet s3")


def listed(names: Sequence[str]) -> str:
    """``Services api, planner; 8 Triggers``."""
    by_kind: dict[str, list[str]] = {}
    for name in names:
        kind, _, its = name.partition(" ")
        by_kind.setdefault(kind, []).append(its)
    parts = []
    for kind, those in by_kind.items():
        if len(those) == 1:
            parts.append(f"{kind} {those[0]}")
        elif len(those) <= _MANY:
            parts.append(f"{kind}s {', '.join(those)}")
        else:
            parts.append(f"{len(those)} {kind}s")
    return "; ".join(parts)


def _failed(cause: FailureCause, statuses: Mapping[str, ObjectStatus]) -> bool:
    return any(statuses[name].state is ObjectReadiness.FAILED for name in cause.objects)
