"""Unknown fields, wrong types and missing fields, by the CRDs of ``schemas/``.

A CRD's schema is condensed to what a manifest may say: no descriptions, no status. It lists fields
that the webhook refuses without a feature's flag, too; those are the affair of ``pods``.
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent.parent / "schemas"
_TOP = {"apiVersion", "kind", "metadata", "spec"}
_METADATA = {"name", "namespace", "labels", "annotations"}
_TYPES = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "object": Mapping,
    "array": list,
}

Schema = Mapping[str, Any]


@functools.cache
def _schema(kind: str) -> Schema:
    schema: Schema = yaml.safe_load((_FOLDER / f"{kind}.yaml").read_text())
    return schema


def has_schema(document: Mapping[str, Any]) -> bool:
    return (_FOLDER / f"{_name(document)}.yaml").exists()


def _name(document: Mapping[str, Any]) -> str:
    return f"{document['apiVersion'].replace('/', '_')}_{document['kind']}"


def violations(document: Mapping[str, Any]) -> Iterator[str]:
    for key in document.keys() - _TOP:
        yield f"{key}: there is no such field"
    metadata = document["metadata"]
    for key in metadata.keys() - _METADATA:
        yield f"metadata.{key}: not written by us"
    schema = _schema(_name(document))["properties"]["spec"]
    yield from _of(document.get("spec", {}), schema, "spec")


def _of(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield f"{path}: must be a number or text"
        return
    wanted = schema.get("type")
    if wanted is not None and not _is(value, wanted):
        yield f"{path}: must be of type {wanted}, not {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if isinstance(value, Mapping):
        yield from _of_object(value, schema, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _of(item, schema.get("items", {}), f"{path}[{index}]")


def _of_object(value: Mapping[str, Any], schema: Schema, path: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties")
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}: is missing"
    for name, item in value.items():
        if name in properties:
            yield from _of(item, properties[name], f"{path}.{name}")
        elif others is not None:
            yield from _of(item, others, f"{path}.{name}")
        elif properties or not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{path}.{name}: there is no such field"


def _is(value: Any, wanted: str) -> bool:
    if isinstance(value, bool) and wanted in ("integer", "number"):
        return False
    return isinstance(value, _TYPES[wanted])
