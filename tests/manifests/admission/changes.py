"""What may not be changed once it is applied: an upgrade that tries is refused."""

from collections.abc import Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]

_CLASS = "eventing.knative.dev/broker.class"


def refused_changes(old: Document, new: Document) -> Iterator[str]:
    """What is wrong with applying ``new`` where ``old`` was applied before."""
    kind = old["kind"]
    if kind == "Broker":
        if _annotation(old, _CLASS) != _annotation(new, _CLASS):
            yield f"metadata.annotations.{_CLASS}: cannot be changed"
        if (old.get("spec") or {}).get("config") != (new.get("spec") or {}).get("config"):
            yield "spec.config: cannot be changed"
    elif kind == "Trigger":
        if old["spec"]["broker"] != new["spec"]["broker"]:
            yield "spec.broker: cannot be changed"
    elif kind in ("EventType", "RabbitmqBrokerConfig"):
        if old["spec"] != new["spec"]:
            yield "spec: cannot be changed"
    elif kind == "Job":
        if old["spec"]["template"] != new["spec"]["template"]:
            yield "spec.template: cannot be changed"
    elif kind == "StatefulSet":
        for field in ("serviceName", "selector", "volumeClaimTemplates"):
            if old["spec"].get(field) != new["spec"].get(field):
                yield f"spec.{field}: cannot be changed"
    elif old["apiVersion"] == "serving.knative.dev/v1":
        before, after = old["spec"]["template"], new["spec"]["template"]
        name = (before.get("metadata") or {}).get("name")
        if name and before != after and (after.get("metadata") or {}).get("name") == name:
            yield "spec.template.metadata.name: must change with the template"


def _annotation(document: Document, key: str) -> str | None:
    found: str | None = (document["metadata"].get("annotations") or {}).get(key)
    return found
