"""Names the settings that a function reads in its Service's template.

Processes read settings once, when they start: so other settings must make a new revision, of those
Services that read them (``settings.readers``) and of no other. What goes into the template tells
nothing of the settings: it is an HMAC-SHA256 with a key that only the cluster's Secret of releases
holds.
"""

import hashlib
import hmac
import json
from collections.abc import Collection, Sequence
from typing import Any

from batch_gateway.cli.cluster.build import SETTINGS_OF
from batch_gateway.cli.cluster.pod_sources import Contents, PodSource, pod_sources
from batch_gateway.cli.cluster.route_keys import key_variables
from batch_gateway.settings import reads_variable

Object = dict[str, Any]

SINK = "BATCH_GATEWAY_EVENTS__SINK"
#: Read again whenever it changes, so it needs no new process.
_READ_AGAIN = ("ConfigMap", "batch-gateway-routes")


def sources(service: Object) -> set[tuple[str, str]]:
    """The ConfigMaps and Secrets, by kind and name, that a Service's pods read."""
    return {(found.kind, found.name) for found in pod_sources(service)}


def mark_settings(objects: Sequence[Object], contents: Contents, salt: bytes) -> None:
    """Write into every Service's template what its settings are, unreadably."""
    for obj in objects:
        if obj["apiVersion"] != "serving.knative.dev/v1" or obj["kind"] != "Service":
            continue
        text = json.dumps(_read(obj, contents), sort_keys=True).encode()
        metadata = obj["spec"]["template"].setdefault("metadata", {})
        digest = hmac.new(salt, text, hashlib.sha256).hexdigest()[:32]
        metadata.setdefault("annotations", {})[SETTINGS_OF] = digest


def _read(service: Object, contents: Contents) -> dict[str, dict[str, str]]:
    """What the Service's function reads of each ConfigMap and Secret."""
    function = _function_of(service)
    keys = key_variables(service, contents)
    read: dict[str, dict[str, str]] = {}
    for source in pod_sources(service):
        if (source.kind, source.name) == _READ_AGAIN:
            continue
        found = read.setdefault(f"{source.kind}/{source.name}", {})
        for key, value in contents.get((source.kind, source.name), {}).items():
            if source.key in (None, key) and _is_read(source, key, function, keys):
                found[key] = value
    return read


def _is_read(source: PodSource, key: str, function: str, keys: Collection[str] | None) -> bool:
    """Files are read, and so is all that another container gets; ``keys``: see the readers."""
    if source.container != 0:
        return True
    return reads_variable(function, source.variable_of(key), keys)


def _function_of(service: Object) -> str:
    """The function, by the arguments of the container."""
    (container, *_) = service["spec"]["template"]["spec"]["containers"]
    return str((container.get("args") or [service["metadata"]["name"]])[0])
