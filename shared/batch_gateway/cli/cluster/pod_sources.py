"""Lists the ConfigMaps and Secrets that the pods of a Service read, and what they get of them."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]
#: ConfigMaps and Secrets, by kind and name; values of Secrets are in base64.
Contents = Mapping[tuple[str, str], Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSource:
    """A ConfigMap or Secret, or one key of it, as variables of a container or as files."""

    kind: str
    name: str
    key: str | None = None  # None: all of them
    variable: str | None = None  # what the key becomes in the environment; None: its own name
    prefix: str = ""  # of the variables, where all keys become some
    container: int | None = None  # whose environment it is for, by its place; None: a volume's
    volume: str = ""  # whose files it has
    path: str | None = None  # of the key's file in the volume; None: its own name

    def variable_of(self, key: str) -> str:
        return self.variable or self.prefix + key


def pod_sources(service: Object) -> Iterator[PodSource]:
    pod = service["spec"]["template"]["spec"]
    for number, container in enumerate(pod["containers"]):
        yield from _of_environment(container, number)
    for volume in pod.get("volumes") or ():
        for part in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            yield from _of_files(part, volume["name"])


def _of_environment(container: Object, number: int) -> Iterator[PodSource]:
    for source in container.get("envFrom") or ():
        for kind, field in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            if ref := source.get(field):
                prefix = source.get("prefix") or ""
                yield PodSource(kind=kind, name=ref["name"], prefix=prefix, container=number)
    for variable in container.get("env") or ():
        value = variable.get("valueFrom") or {}
        for kind, field in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
            if ref := value.get(field):
                yield PodSource(
                    kind=kind,
                    name=ref["name"],
                    key=ref["key"],
                    variable=variable["name"],
                    container=number,
                )


def _of_files(part: Object, volume: str) -> Iterator[PodSource]:
    """``part``: a volume, or one source of a projected volume."""
    for kind, field in (("ConfigMap", "configMap"), ("Secret", "secret")):
        if mounted := part.get(field):
            name = mounted.get("name") or mounted["secretName"]
            for item in mounted.get("items") or [{}]:
                key, path = item.get("key"), item.get("path")
                yield PodSource(kind=kind, name=name, key=key, volume=volume, path=path)


def texts(source: PodSource, contents: Contents) -> Iterator[tuple[str, str]]:
    """Keys and values, as text, that pods get by ``source``."""
    for key, value in contents.get((source.kind, source.name), {}).items():
        if source.key not in (None, key):
            continue
        secret = source.kind == "Secret"
        yield key, base64.b64decode(value).decode(errors="replace") if secret else value


def environment_of(service: Object, contents: Contents) -> dict[str, str]:
    """The function's variables; later ones win, as in a pod."""
    found: dict[str, str] = {}
    for source in pod_sources(service):
        if source.container == 0:
            found |= {source.variable_of(key): text for key, text in texts(source, contents)}
    for variable in service["spec"]["template"]["spec"]["containers"][0].get("env") or ():
        if "value" in variable:
            found[variable["name"]] = variable["value"]
    return found
