"""Secrets of a deployment: made once, completed when something new is needed, never overwritten.

Whatever a Secret of the cluster holds stays, unless the user has said otherwise on this very
command line. So a second deployment neither changes keys under running functions nor puts a
trial's public password back.
"""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batch_gateway.cli.cluster.build import MANAGED_BY
from batch_gateway.cli.cluster.kube import ClusterClient

Object = dict[str, Any]

NAME = "batch-gateway-secrets"
#: Values that you do not need to choose.
MADE = (
    "BATCH_GATEWAY_EVENTS__SIGNING_KEYS",
    "BATCH_GATEWAY_AUTH__SECRET",
    "BATCH_GATEWAY_METRICS__TOKEN",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretChange:
    """What is to become of a Secret; values are in base64."""

    wanted: Object
    has: Mapping[str, str] | None  # None: it is not there
    changes: Mapping[str, str | None]  # None: the key goes

    @property
    def contents(self) -> dict[str, str]:
        """What it holds afterwards."""
        after = {**(self.has or {}), **self.changes}
        return {name: value for name, value in after.items() if value is not None}

    @property
    def replaced(self) -> dict[str, str | None]:
        """The values before, of the keys that change in a Secret that was there."""
        has = self.has
        return {} if has is None else {name: has.get(name) for name in self.changes}

    @property
    def done(self) -> str:
        if self.has is None:
            return "created"
        return "completed" if self.changes else "kept"

    def make(self, cluster: ClusterClient, *, dry_run: bool = False) -> None:
        if self.has is None:
            bare = {key: value for key, value in self.wanted.items() if key != "stringData"}
            cluster.create(bare | {"data": self.contents}, dry_run=dry_run)
        elif self.changes:
            cluster.merge(self.wanted, {"data": dict(self.changes)}, dry_run=dry_run)


def secret_changes(
    cluster: ClusterClient, objects: list[Object], given: Mapping[str, str]
) -> list[SecretChange]:
    """What the Secrets among ``objects`` and ours need; ``given``: values of the command line."""
    found = []
    for wanted in _wanted(objects, cluster.namespace):
        chosen = given if wanted["metadata"]["name"] == NAME else {}
        values = _encoded({**wanted.get("stringData", {}), **chosen}) | wanted.get("data", {})
        existing = cluster.same(wanted)
        has = None if existing is None else existing.get("data") or {}
        changes = {
            name: value
            for name, value in values.items()
            if has is None or name not in has or (name in chosen and has[name] != value)
        }
        found.append(SecretChange(wanted=wanted, has=has, changes=changes))
    return found


def changes_back(
    cluster: ClusterClient, replaced: Mapping[str, Mapping[str, str | None]]
) -> list[SecretChange]:
    """What puts values of Secrets back; a Secret that is gone stays so."""
    found = []
    for name, values in replaced.items():
        existing = cluster.get("v1", "Secret", name)
        if existing is not None:
            has = existing.get("data") or {}
            changes = {key: value for key, value in values.items() if has.get(key) != value}
            found.append(SecretChange(wanted=existing, has=has, changes=changes))
    return found


def decoded(secret: Object | None) -> dict[str, str]:
    """What a Secret holds, as text."""
    data: Mapping[str, str] = (secret or {}).get("data") or {}
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


def _wanted(objects: list[Object], namespace: str) -> list[Object]:
    """The Secrets among ``objects``, with random values for the keys that we make ourselves."""
    found = [obj for obj in objects if obj["kind"] == "Secret"]
    ours = next((obj for obj in found if obj["metadata"]["name"] == NAME), None)
    if ours is None:
        metadata = {"name": NAME, "namespace": namespace, "labels": dict([MANAGED_BY])}
        ours = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}
        found.append(ours)
    made = {name: secrets.token_hex(32) for name in MADE}
    ours["stringData"] = {**ours.get("stringData", {}), **made}
    return found


def _encoded(values: Mapping[str, str]) -> dict[str, str]:
    return {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
