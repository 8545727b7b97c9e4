"""Names the settings that a function reads in its Service's template.

Processes read settings once, when they start: so other settings must make a new revision, of those
Services that read them (``settings.readers``) and of no other. What goes into the template tells
nothing of the settings: it is an HMAC-SHA256 with a key that only the cluster's Secret of releases
holds.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batch_gateway.cli.cluster.build import SETTINGS_OF
from batch_gateway.settings import reads_variable

Object = dict[str, Any]
#: The contents of ConfigMaps and Secrets, by kind and name.
Contents = Mapping[tuple[str, str], Mapping[str, str]]

SINK = "BATCH_GATEWAY_EVENTS__SINK"
#: Read again whenever it changes, so it needs no new process.
_READ_AGAIN = ("ConfigMap", "batch-gateway-routes")


@dataclass(frozen=True, slots=True)
class _Source:
    """A ConfigMap or Secret, or one key of it, that a pod reads when it starts."""

    kind: str
    name: str
    key: str | None = None  # None: all of them
    variable: str | None = None  # what the key becomes in the environment; None: its own name
    mounted: bool = False  # as files: the function reads them all

    def is_read(self, function: str, key: str) -> bool:
        if self.key not in (None, key):
            return False
        return self.mounted or reads_variable(function, self.variable or key)


def sources(service: Object) -> set[tuple[str, str]]:
    """The ConfigMaps and Secrets, by kind and name, that a Service's pods read when they start."""
    return {(found.kind, found.name) for found in _sources(service)}


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
    read: dict[str, dict[str, str]] = {}
    for source in _sources(service):
        found = read.setdefault(f"{source.kind}/{source.name}", {})
        for key, value in contents.get((source.kind, source.name), {}).items():
            if source.is_read(function, key):
                found[key] = value
    return read


def _function_of(service: Object) -> str:
    """What the container is called with says which function it is."""
    (container, *_) = service["spec"]["template"]["spec"]["containers"]
    return str((container.get("args") or [service["metadata"]["name"]])[0])


def _sources(service: Object) -> Iterator[_Source]:
    pod = service["spec"]["template"]["spec"]
    for container in pod["containers"]:
        for source in container.get("envFrom") or ():
            for kind, field in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                if ref := source.get(field):
                    yield _Source(kind, ref["name"])
        for variable in container.get("env") or ():
            value = variable.get("valueFrom") or {}
            for kind, field in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                if ref := value.get(field):
                    yield _Source(kind, ref["name"], ref["key"], variable["name"])
    for volume in pod.get("volumes") or ():
        for kind, field, name in (
            ("ConfigMap", "configMap", "name"),
            ("Secret", "secret", "secretName"),
        ):
            if (mounted := volume.get(field)) and (kind, mounted[name]) != _READ_AGAIN:
                items = mounted.get("items") or [{"key": None}]
                for item in items:
                    yield _Source(kind, mounted[name], item["key"], mounted=True)
