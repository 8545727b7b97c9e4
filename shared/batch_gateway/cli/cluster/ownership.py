"""Decides which fields of other managers server-side apply may take over.

The API server refuses an apply (409) that would change a field of another manager. Three cases:

- Controllers, webhooks and ``kubectl apply`` of the same manifests: no person has decided anything
  that the manifests do not say, so their fields are taken over.
- Another manager whose fields hold what the last deployment put there: nothing would be lost.
  ``kn service update`` pins the image to a digest, for instance, and owns all containers since.
- Another manager that has set another value: a person's decision. The deployment names the field,
  the manager and both values, and does not begin.
"""

import copy
import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from batch_gateway.cli.cluster.kube import MANAGER, FieldConflict

Object = dict[str, Any]

_NO_PERSON = re.compile(
    rf"{MANAGER}|kubectl|kubectl-client-side-apply|before-first-apply|.*(webhook|controller)"
)
#: Set by ``kn`` beside the digest that it pins the image to.
_IMAGE_MEANT = "client.knative.dev/user-image"
#: What a SinkBinding injects into containers.
_INJECTED = ("K_SINK", "K_CE_OVERRIDES", "K_CA_CERTS")
_TOKEN_MOUNT = "/oidc"
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class OwnershipConflict:
    """A person's decision that an apply would undo."""

    field: str
    manager: str
    theirs: str
    ours: str

    def __str__(self) -> str:
        return (
            f"{self.manager} has set {self.field} to {self.theirs}, this deployment sets"
            f" {self.ours}: write {self.theirs} into your overlay, or take it back with --force"
        )


def ownership_conflicts(
    conflicts: Collection[FieldConflict],
    live: Object,
    *,
    ours: Callable[[], Object],
    last: Callable[[], Object | None],
    said: Collection[str] = (),
) -> list[OwnershipConflict]:
    """The decisions that taking ``conflicts`` over would undo; empty: it may be done.

    ``ours`` and ``last``: the object as the server would make it of this and of the last
    deployment (None: not known); called only where a person may have decided. ``said``: fields
    that this command line names, which is a decision too.
    """
    people = [conflict for conflict in conflicts if not _NO_PERSON.fullmatch(conflict.manager)]
    if not people:
        return []
    wanted = _plain(ours())
    before = last()
    base = wanted if before is None else _plain(before)
    found = _plain(live, base)
    undone = {field: (theirs, mine) for field, theirs, mine in _differences(found, wanted)}
    decided = [field for field, _, _ in _differences(found, base) if field in undone]
    return [
        OwnershipConflict(field, conflict.manager, *undone[field])
        for field in decided
        if field not in said
        for conflict in people
        if _within(field, conflict.field)
    ]


def with_injected(obj: Object, live: Object | None) -> Object:
    """A Service with what a SinkBinding has injected into ``live``: it would do it again."""
    if live is None:
        return obj
    result = copy.deepcopy(obj)
    there = {c.get("name"): c for c in live["spec"]["template"]["spec"]["containers"]}
    for container in result["spec"]["template"]["spec"]["containers"]:
        found = there.get(container.get("name"), {})
        for field, key, names in (
            ("env", "name", _INJECTED),
            ("volumeMounts", "mountPath", (_TOKEN_MOUNT,)),
        ):
            has = {member[key] for member in container.get(field) or ()}
            injected = [
                member
                for member in found.get(field) or ()
                if member[key] in names and member[key] not in has
            ]
            if injected:
                container[field] = [*(container.get(field) or ()), *injected]
    return result


def _plain(obj: Object, base: Object | None = None) -> Object:
    """Without what records no decision: status, bookkeeping, a pinned image."""
    metadata = {key: obj["metadata"].get(key) or {} for key in ("labels", "annotations")}
    result = copy.deepcopy({k: v for k, v in obj.items() if k != "status"} | {"metadata": metadata})
    template = (result.get("spec") or {}).get("template") or {}
    meant = ((template.get("metadata") or {}).get("annotations") or {}).pop(_IMAGE_MEANT, None)
    containers: list[Object] = (template.get("spec") or {}).get("containers") or []
    if base is not None and meant is not None and len(containers) == 1:
        container, other = containers[0], base["spec"]["template"]["spec"]["containers"][0]
        if meant == other["image"]:
            container["image"] = meant
    return result


def _differences(one: Any, other: Any, field: str = "") -> Iterator[tuple[str, str, str]]:
    """Fields in which two values differ, with both, as deep down as their names lead."""
    if one == other:
        return
    parts_of_one, parts_of_other = _parts(one), _parts(other)
    if parts_of_one is None or parts_of_other is None:
        yield field, _spelled(one), _spelled(other)
        return
    for name in {**parts_of_one, **parts_of_other}:
        one_part = parts_of_one.get(name, _ABSENT)
        yield from _differences(one_part, parts_of_other.get(name, _ABSENT), field + name)


def _parts(value: Any) -> dict[str, Any] | None:
    """What an object or a list of named objects consists of; None: it has no parts."""
    if isinstance(value, dict):
        return {f".{name}": inner for name, inner in value.items()}
    if isinstance(value, list) and all(isinstance(v, dict) and "name" in v for v in value):
        return {f'[name="{inner["name"]}"]': inner for inner in value}
    return None


def _spelled(value: Any) -> str:
    return "nothing" if value is _ABSENT else json.dumps(value)


def _within(field: str, owned: str) -> bool:
    return field == owned or field.startswith((f"{owned}.", f"{owned}["))
