"""Brokers, Triggers, sources, event types and policies."""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Set
from typing import Any
from urllib.parse import urlsplit

from manifests.admission import names

_ATTRIBUTE = re.compile(r"[a-z][a-z0-9]*")
_CLASS = "eventing.knative.dev/broker.class"
_RABBITMQ = "RabbitMQBroker"
_PARALLELISM = "rabbitmq.eventing.knative.dev/parallelism"
_ORDER = "kafka.eventing.knative.dev/delivery.order"
_DIALECTS = {"exact", "prefix", "suffix", "all", "any", "not", "cesql"}
_RETRY_AFTER = "delivery-retryafter"
_OIDC = "authentication-oidc"
_MAX_PING_BYTES = 2048  # config-ping-defaults: data-max-size is unlimited as shipped; be modest

Fields = Mapping[str, Any]


# -- where events go, and how patiently -------------------------------------------------------


def reference(ref: Fields, path: str, namespace: str | None) -> Iterator[str]:
    """``namespace``: the one that a reference may not leave; None: it may lead anywhere."""
    for field in ("apiVersion", "kind", "name"):
        if not ref.get(field):
            yield f"{path}.{field}: is missing"
    if "group" in ref:
        yield f"{path}.group: needs the feature kreference-group"
    if namespace is not None and ref.get("namespace", namespace) != namespace:
        yield f"{path}.namespace: must be {namespace}"


def destination(found: Fields | None, path: str, namespace: str) -> Iterator[str]:
    ref, uri = (found or {}).get("ref"), (found or {}).get("uri")
    if ref is None and uri is None:
        yield f"{path}: needs a ref or a uri"
        return
    url = urlsplit(uri or "")
    if ref is not None and url.scheme:
        yield f"{path}.uri: may not be absolute beside a ref"
    if ref is None and not (url.scheme and url.netloc):
        yield f"{path}.uri: must be absolute without a ref"
    if ref is not None:
        yield from reference(ref, f"{path}.ref", namespace)


def delivery(found: Fields | None, path: str, namespace: str, features: Set[str]) -> Iterator[str]:
    if found is None:
        return
    if found.get("retry", 0) < 0:
        yield f"{path}.retry: must not be negative"
    if found.get("backoffPolicy", "linear") not in ("linear", "exponential"):
        yield f"{path}.backoffPolicy: must be linear or exponential"
    if found.get("format", "json") not in ("json", "binary"):
        yield f"{path}.format: must be json or binary"
    if "backoffDelay" in found and not names.is_iso_duration(found["backoffDelay"]):
        yield f"{path}.backoffDelay: {found['backoffDelay']!r} is not a duration such as PT2S"
    timeout = found.get("timeout", "PT1S")
    if not names.is_iso_duration(timeout) or names.is_zero_or_negative(timeout):
        yield f"{path}.timeout: {timeout!r} is not a positive duration such as PT10M"
    if "retryAfterMax" in found and _RETRY_AFTER not in features:
        yield f"{path}.retryAfterMax: needs the feature {_RETRY_AFTER}"
    if "deadLetterSink" in found:
        yield from destination(found["deadLetterSink"], f"{path}.deadLetterSink", namespace)


# -- brokers and triggers ---------------------------------------------------------------------


def broker(document: Fields, features: Set[str]) -> Iterator[str]:
    metadata, spec = document["metadata"], document.get("spec") or {}
    if config := spec.get("config"):
        yield from reference(config, "spec.config", None)
    yield from delivery(spec.get("delivery"), "spec.delivery", metadata["namespace"], features)
    if (metadata.get("annotations") or {}).get(_CLASS) == _RABBITMQ:
        kind = (spec.get("config") or {}).get("kind")
        if kind != "RabbitmqBrokerConfig":
            yield f"spec.config: a {_RABBITMQ} needs a RabbitmqBrokerConfig"
        elif not spec["config"].get("namespace"):
            yield "spec.config.namespace: is missing"


def trigger(document: Fields, features: Set[str]) -> Iterator[str]:
    metadata, spec = document["metadata"], document["spec"]
    namespace = metadata["namespace"]
    if not spec.get("broker"):
        yield "spec.broker: is missing"
    attributes = (spec.get("filter") or {}).get("attributes") or {}
    yield from _attributes(attributes, "spec.filter.attributes")
    yield from filters(spec.get("filters") or (), "spec.filters")
    yield from destination(spec.get("subscriber"), "spec.subscriber", namespace)
    yield from delivery(spec.get("delivery"), "spec.delivery", namespace, features)
    annotations = metadata.get("annotations") or {}
    parallelism = annotations.get(_PARALLELISM, "1")
    if not parallelism.isdecimal() or not 1 <= int(parallelism) <= 1000:
        yield f"metadata.annotations.{_PARALLELISM}: must be 1 to 1000"
    if annotations.get(_ORDER, "ordered") not in ("ordered", "unordered"):
        yield f"metadata.annotations.{_ORDER}: must be ordered or unordered"
    if "eventing.knative.dev/injection" in annotations and spec.get("broker") != "default":
        yield "metadata.annotations.eventing.knative.dev/injection: only with the default broker"
    dependency = annotations.get("knative.dev/dependency")
    if dependency is not None:
        yield from _dependency(dependency, namespace)


def _dependency(text: str, namespace: str) -> Iterator[str]:
    path = "metadata.annotations.knative.dev/dependency"
    try:
        found = json.loads(text)
    except ValueError:
        yield f"{path}: is not JSON"
        return
    yield from reference(found, path, namespace)


def _attributes(found: Fields, path: str) -> Iterator[str]:
    for name in found:
        if _ATTRIBUTE.fullmatch(name) is None:
            yield f"{path}: {name!r} is not the name of an attribute"


def filters(found: Any, path: str) -> Iterator[str]:
    for index, one in enumerate(found):
        yield from _filter(one, f"{path}[{index}]")


def _filter(found: Fields, path: str) -> Iterator[str]:
    dialects = sorted(found.keys() & _DIALECTS)
    if len(dialects) > 1:
        yield f"{path}: has several dialects, {dialects}"
    for name in ("exact", "prefix", "suffix"):
        values = found.get(name) or {}
        if len(values) > 1:
            yield f"{path}.{name}: may name one attribute only"
        yield from _attributes(values, f"{path}.{name}")
    for name in ("all", "any"):
        yield from filters(found.get(name) or (), f"{path}.{name}")
    if "not" in found:
        yield from _filter(found["not"], f"{path}.not")


# -- sources ----------------------------------------------------------------------------------


def ping_source(document: Fields, _features: Set[str]) -> Iterator[str]:
    spec = document["spec"]
    if problem := names.cron_problem(spec.get("schedule", "* * * * *")):
        yield f"spec.schedule: {problem}"
    zone = spec.get("timezone", "")
    if zone and not names.is_timezone(zone):
        yield f"spec.timezone: there is no {zone!r}"
    if spec.get("data") and spec.get("dataBase64"):
        yield "spec.data: is there beside dataBase64"
    yield from _ping_data(spec)
    yield from destination(spec.get("sink"), "spec.sink", document["metadata"]["namespace"])


def _ping_data(spec: Fields) -> Iterator[str]:
    data = spec.get("data", "")
    if encoded := spec.get("dataBase64"):
        try:
            data = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            yield "spec.dataBase64: is not base64"
            return
    if len(data) > _MAX_PING_BYTES:
        yield "spec.data: is too long"
    if data and spec.get("contentType") == "application/json":
        try:
            if not isinstance(json.loads(data), dict):
                yield "spec.data: must be a JSON object"
        except ValueError:
            yield "spec.data: is not JSON"


def sink_binding(document: Fields, _features: Set[str]) -> Iterator[str]:
    namespace, spec = document["metadata"]["namespace"], document["spec"]
    subject = spec.get("subject") or {}
    for field in ("apiVersion", "kind"):
        if not subject.get(field):
            yield f"spec.subject.{field}: is missing"
    if bool(subject.get("name")) == bool(subject.get("selector")):
        yield "spec.subject: needs either a name or a selector"
    if subject.get("namespace", namespace) != namespace:
        yield f"spec.subject.namespace: must be {namespace}"
    yield from destination(spec.get("sink"), "spec.sink", namespace)


# -- what there is to hear, and who may speak -------------------------------------------------


def event_type(document: Fields, _features: Set[str]) -> Iterator[str]:
    attributes = {found["name"] for found in document["spec"].get("attributes") or ()}
    for name in ("type", "source", "specversion", "id"):
        if name not in attributes:
            yield f"spec.attributes: {name} is missing"
    if "reference" in document["spec"]:
        yield from reference(document["spec"]["reference"], "spec.reference", None)


def event_policy(document: Fields, features: Set[str]) -> Iterator[str]:
    if _OIDC not in features:
        yield f"spec: needs the feature {_OIDC}"
    spec = document["spec"]
    for index, found in enumerate(spec.get("from") or ()):
        path = f"spec.from[{index}]"
        if bool(found.get("ref")) == bool(found.get("sub")):
            yield f"{path}: needs either a ref or a sub"
        if found.get("ref"):
            yield from reference(found["ref"], f"{path}.ref", None)
        if "*" in found.get("sub", "")[:-1]:
            yield f"{path}.sub: '*' is only allowed at the end"
    for index, found in enumerate(spec.get("to") or ()):
        path = f"spec.to[{index}]"
        if bool(found.get("ref")) == bool(found.get("selector")):
            yield f"{path}: needs either a ref or a selector"
        if found.get("ref"):
            yield from reference(found["ref"], f"{path}.ref", None)
    yield from filters(spec.get("filters") or (), "spec.filters")


def rabbitmq_config(document: Fields, _features: Set[str]) -> Iterator[str]:
    found = document["spec"].get("rabbitmqClusterReference")
    if found is None:
        yield "spec.rabbitmqClusterReference: is missing"
    elif bool(found.get("name")) == bool(found.get("connectionSecret")):
        yield "spec.rabbitmqClusterReference: needs either a name or a connectionSecret"
