"""Secrets of a deployment: made once, completed when something new is needed, never overwritten.

Whatever a Secret of the cluster holds stays, unless the user has said otherwise on this very
command line. So a second deployment neither changes keys under running functions nor puts a
trial's public password back.
"""

import base64
import secrets
from collections.abc import Mapping
from typing import Any

from batch_gateway.cli.cluster.build import MANAGED_BY
from batch_gateway.cli.cluster.kube import Cluster

Object = dict[str, Any]

NAME = "batch-gateway-secrets"
#: What nobody needs to choose.
MADE = (
    "BATCH_GATEWAY_EVENTS__SIGNING_KEYS",
    "BATCH_GATEWAY_AUTH__SECRET",
    "BATCH_GATEWAY_METRICS__TOKEN",
)


def wanted_secrets(objects: list[Object], namespace: str) -> list[Object]:
    """The Secrets among ``objects``, with random values for the keys that we make ourselves."""
    found = [obj for obj in objects if obj["kind"] == "Secret"]
    ours = next((obj for obj in found if obj["metadata"]["name"] == NAME), None)
    if ours is None:
        metadata = {
            "name": NAME,
            "namespace": namespace,
            "labels": dict([MANAGED_BY]),
        }
        ours = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}
        found.append(ours)
    made = {name: secrets.token_hex(32) for name in MADE}
    ours["stringData"] = {**ours.get("stringData", {}), **made}
    return found


def keep_secret(
    cluster: Cluster, wanted: Object, given: Mapping[str, str], *, dry_run: bool
) -> str:
    """Create a Secret or add what it lacks; ``given`` wins. Returns what was done."""
    values = _encoded({**wanted.get("stringData", {}), **given}) | wanted.get("data", {})
    existing = cluster.same(wanted)
    if existing is None:
        bare = {key: value for key, value in wanted.items() if key != "stringData"}
        cluster.create(bare | {"data": values}, dry_run=dry_run)
        return "created"
    has = existing.get("data") or {}
    changes = {
        name: value
        for name, value in values.items()
        if name not in has or (name in given and has[name] != value)
    }
    if not changes:
        return "kept"
    cluster.merge(wanted, {"data": changes}, dry_run=dry_run)
    return "completed"


def decoded(secret: Object | None) -> dict[str, str]:
    """What a Secret holds, as text."""
    data: Mapping[str, str] = (secret or {}).get("data") or {}
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


def _encoded(values: Mapping[str, str]) -> dict[str, str]:
    return {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
