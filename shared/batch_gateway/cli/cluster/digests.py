"""Names the settings that a function reads in its Service's template.

Processes read settings once, when they start: so other settings must make a new revision, of those
Services that read them and of no other. What goes into the template tells nothing of the settings:
it is an HMAC-SHA256 with a key that only the cluster's Secret of releases holds.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batch_gateway.cli.cluster.build import SETTINGS_OF

Object = dict[str, Any]
#: The contents of ConfigMaps and Secrets, by kind and name.
Contents = Mapping[tuple[str, str], Mapping[str, str]]

SINK = "BATCH_GATEWAY_EVENTS__SINK"
#: Read again whenever it changes, so it needs no new process.
_READ_AGAIN = ("ConfigMap", "batch-gateway-routes")


def sources(service: Object) -> set[tuple[str, str]]:
    """The ConfigMaps and Secrets, by kind and name, that a Service's pods read when they start."""
    return {found for found in _sources(service["spec"]["template"]["spec"]) if found[1]}


def mark_settings(objects: Sequence[Object], contents: Contents, salt: bytes) -> None:
    """Write into every Service's template what its settings are, unreadably."""
    silent = _dead_letter_sinks(objects)
    for obj in objects:
        if obj["apiVersion"] != "serving.knative.dev/v1" or obj["kind"] != "Service":
            continue
        read = {
            "/".join(source): {
                name: value
                for name, value in contents.get(source, {}).items()
                # It sends no events: the broker's address, known after it, is none of its settings.
                if not (name == SINK and obj["metadata"]["name"] in silent)
            }
            for source in sources(obj)
        }
        text = json.dumps(read, sort_keys=True).encode()
        metadata = obj["spec"]["template"].setdefault("metadata", {})
        digest = hmac.new(salt, text, hashlib.sha256).hexdigest()[:32]
        metadata.setdefault("annotations", {})[SETTINGS_OF] = digest


def _sources(pod: Object) -> Iterator[tuple[str, str]]:
    for container in pod["containers"]:
        for source in container.get("envFrom") or ():
            yield "ConfigMap", (source.get("configMapRef") or {}).get("name", "")
            yield "Secret", (source.get("secretRef") or {}).get("name", "")
        for variable in container.get("env") or ():
            value = variable.get("valueFrom") or {}
            yield "ConfigMap", (value.get("configMapKeyRef") or {}).get("name", "")
            yield "Secret", (value.get("secretKeyRef") or {}).get("name", "")
    for volume in pod.get("volumes") or ():
        found = ("ConfigMap", (volume.get("configMap") or {}).get("name", ""))
        if found != _READ_AGAIN:
            yield found
        yield "Secret", (volume.get("secret") or {}).get("secretName", "")


def _dead_letter_sinks(objects: Sequence[Object]) -> set[str]:
    """Services that get what no subscriber has taken."""
    found = set()
    for obj in objects:
        if obj["kind"] == "Broker":
            delivery = (obj.get("spec") or {}).get("delivery") or {}
            ref = (delivery.get("deadLetterSink") or {}).get("ref") or {}
            found.add(ref.get("name", ""))
    return found
