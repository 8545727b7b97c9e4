"""Loads the manifests of ``knative/`` and ``eventing/`` as a cluster would.

A base is a kustomization whose ``resources`` are files and further bases; of kustomize's other
fields only ``namespace`` means something on one machine. They come from the source tree or, in an
installed wheel, from the copy inside the package: in both a function's entry point is found
relative to the same folder.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import batch_gateway
from batch_gateway.local import resources
from batch_gateway.local.errors import PlatformError
from batch_gateway.local.resources import ParsedManifests

_BASES = ("knative/base", "eventing/base")
_DEFAULT_NAMESPACE = "default"
_SETTING = "BATCH_GATEWAY_"

Document = dict[str, Any]


def deployment_root() -> Path:
    """The folder that holds ``knative``, ``eventing`` and ``functions``."""
    package = Path(batch_gateway.__file__).parent
    for root in (package / "_deployment", package.parent.parent):
        if (root / "knative").is_dir():
            return root
    raise PlatformError("the manifests (knative/, eventing/) are missing from this installation")


def load(root: Path, triggers: Sequence[Path] = ()) -> ParsedManifests:
    """Everything that the manifests under ``root`` say, and the Triggers in the files ``triggers``.

    Raises PlatformError.
    """
    documents = [document for base in _BASES for document in _base(root / base)]
    further = [found for path in triggers for found in _further_triggers(path, documents)]
    documents += further
    try:
        return deployment(documents)
    except (KeyError, ValueError, TypeError) as error:
        raise PlatformError(f"a manifest under {root} is wrong: {error!r}") from error


def _further_triggers(path: Path, documents: Sequence[Document]) -> Iterator[Document]:
    """The Triggers in a user's file, for subscribers on this machine. Raises PlatformError."""
    brokers = {d["metadata"]["name"]: d["metadata"] for d in documents if d["kind"] == "Broker"}
    taken = {d["metadata"]["name"] for d in documents if d["kind"] == "Trigger"}
    for document in _read(path):
        try:
            kind, metadata, spec = document["kind"], document["metadata"], document["spec"]
            name, broker, uri = metadata["name"], spec["broker"], spec["subscriber"].get("uri")
        except (KeyError, TypeError, AttributeError) as error:
            raise PlatformError(f"{path}: not a Trigger: {error!r} is missing") from error
        if kind != "Trigger":
            raise PlatformError(f"{path}: a {kind}; only Triggers may be added")
        if name in taken:
            raise PlatformError(f"{path}: there is a Trigger {name!r} already")
        if broker not in brokers:
            known = ", ".join(brokers) or "none"
            raise PlatformError(f"{path}: there is no Broker {broker!r} (there is: {known})")
        if not str(uri).startswith(("http://", "https://")):
            raise PlatformError(f"{path}: the subscriber of {name!r} needs a uri of this machine")
        taken.add(name)
        metadata["namespace"] = brokers[broker]["namespace"]
        yield document


def _base(folder: Path) -> Iterator[Document]:
    (kustomization,) = _read(folder / "kustomization.yaml")
    namespace = kustomization.get("namespace", _DEFAULT_NAMESPACE)
    for name in kustomization.get("resources") or ():
        path = folder / name
        for document in _base(path) if path.is_dir() else _read(path):
            document["metadata"].setdefault("namespace", namespace)
            yield document


def _read(path: Path) -> list[Document]:
    try:
        return [document for document in yaml.safe_load_all(path.read_text()) if document]
    except OSError as error:
        raise PlatformError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise PlatformError(f"{path} is not YAML: {error}".replace("\n", " ")) from error


def deployment(documents: Sequence[Document]) -> ParsedManifests:
    """What resources say, each of which names its namespace. Raises KeyError, ValueError."""

    def of(api: str, kind: str) -> list[Document]:
        return [
            document
            for document in documents
            if document["kind"] == kind and document["apiVersion"].partition("/")[0] == api
        ]

    config_maps: dict[str, Mapping[str, str]] = {
        document["metadata"]["name"]: document.get("data") or {}
        for document in of("v1", "ConfigMap")
    }
    services = [
        resources.service(document, config_maps)
        for document in of("serving.knative.dev", "Service")
    ]
    brokers = of("eventing.knative.dev", "Broker")
    deliveries = {
        broker["metadata"]["name"]: (broker.get("spec") or {}).get("delivery") for broker in brokers
    }
    return ParsedManifests(
        services=services,
        brokers=[resources.broker(document) for document in brokers],
        triggers=[
            resources.trigger(document, deliveries[document["spec"]["broker"]])
            for document in of("eventing.knative.dev", "Trigger")
        ],
        pings=[resources.ping_source(d) for d in of("sources.knative.dev", "PingSource")],
        bindings=[resources.sink_binding(d) for d in of("sources.knative.dev", "SinkBinding")],
        settings={
            name: value
            for service in services
            for name, value in service.env.items()
            if name.startswith(_SETTING)
        },
    )
