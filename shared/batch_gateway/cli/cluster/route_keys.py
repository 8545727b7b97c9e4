"""Finds the environment variables that a Service's routing file names as API keys.

The file is usually a ConfigMap that is mounted into all functions; its variables come from a Secret
that all functions get. Which functions read them is known (``settings.readers``), which variables
they are only the file tells.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from batch_gateway.cli.cluster.pod_sources import PodSource, pod_sources

Object = Mapping[str, Any]
#: ConfigMaps and Secrets, by kind and name; values of Secrets are in base64.
Contents = Mapping[tuple[str, str], Mapping[str, str]]

_ROUTES = "BATCH_GATEWAY_INFERENCE__ROUTES"
_INFERENCE = "BATCH_GATEWAY_INFERENCE"  # the whole group as a JSON object


def key_variables(service: Object, contents: Contents) -> frozenset[str] | None:
    """Names of variables; None: there is a routing file, and it cannot be read here."""
    path = _path(_environment(service, contents))
    if path is None:
        return frozenset()
    text = dict(_files(service, contents)).get(path)
    return None if text is None else _named(text)


def _named(text: str) -> frozenset[str] | None:
    import yaml

    try:
        endpoints = yaml.safe_load(text)["endpoints"].values()
        return frozenset(found for e in endpoints if (found := e.get("api_key_env")) is not None)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return None  # the functions will refuse it


def _path(environment: Mapping[str, str]) -> PurePosixPath | None:
    found: str | None = environment.get(_ROUTES)
    if found is None:
        try:
            found = json.loads(environment.get(_INFERENCE, "{}")).get("routes")
        except (ValueError, AttributeError):
            return None  # the functions will refuse it
    return PurePosixPath(found) if found else None


def _environment(service: Object, contents: Contents) -> dict[str, str]:
    """The function's variables; later ones win, as in a pod."""
    found: dict[str, str] = {}
    for source in pod_sources(service):
        if source.container == 0:
            for key, value in _texts(source, contents):
                found[source.variable_of(key).upper()] = value
    for variable in service["spec"]["template"]["spec"]["containers"][0].get("env") or ():
        if "value" in variable:
            found[variable["name"].upper()] = variable["value"]
    return found


def _files(service: Object, contents: Contents) -> Iterator[tuple[PurePosixPath, str]]:
    """Path and text of each file that the function has of a ConfigMap or Secret."""
    mounts = service["spec"]["template"]["spec"]["containers"][0].get("volumeMounts") or ()
    for source in pod_sources(service):
        for mount in mounts:
            if source.volume != mount["name"]:
                continue
            for key, text in _texts(source, contents):
                path, where = source.path or key, PurePosixPath(mount["mountPath"])
                yield (where if mount.get("subPath") == path else where / path), text


def _texts(source: PodSource, contents: Contents) -> Iterator[tuple[str, str]]:
    for key, value in contents.get((source.kind, source.name), {}).items():
        if source.key not in (None, key):
            continue
        secret = source.kind == "Secret"
        yield key, base64.b64decode(value).decode(errors="replace") if secret else value
