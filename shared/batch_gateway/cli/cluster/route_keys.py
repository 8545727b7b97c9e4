"""Finds the environment variables that a Service's routing file names as API keys.

The file is usually a ConfigMap that is mounted into all functions; its variables come from a Secret
that all functions get. Which functions read them is known (``settings.readers``), which variables
they are only the file tells.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from batch_gateway.cli.cluster.pod_sources import Contents, environment_of, pod_sources, texts

Object = Mapping[str, Any]

_ROUTES = "BATCH_GATEWAY_INFERENCE__ROUTES"
_INFERENCE = "BATCH_GATEWAY_INFERENCE"  # the whole group as a JSON object


def key_variables(service: Object, contents: Contents) -> frozenset[str] | None:
    """Names of variables; None: there is a routing file, and it cannot be read here."""
    path = _path(environment_of(service, contents))
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
    given = {name.upper(): value for name, value in environment.items()}
    found: str | None = given.get(_ROUTES)
    if found is None:
        try:
            found = json.loads(given.get(_INFERENCE, "{}")).get("routes")
        except (ValueError, AttributeError):
            return None  # the functions will refuse it
    return PurePosixPath(found) if found else None


def _files(service: Object, contents: Contents) -> Iterator[tuple[PurePosixPath, str]]:
    """Path and text of each file that the function has of a ConfigMap or Secret."""
    mounts = service["spec"]["template"]["spec"]["containers"][0].get("volumeMounts") or ()
    for source in pod_sources(service):
        for mount in mounts:
            if source.volume != mount["name"]:
                continue
            for key, text in texts(source, contents):
                path, where = source.path or key, PurePosixPath(mount["mountPath"])
                yield (where if mount.get("subPath") == path else where / path), text
