"""Puts the descriptions into JSON Schemas that pydantic has made."""

import json
from typing import Any

from batch_gateway.web.api.descriptions import OBJECTS

Schema = dict[str, Any]

REFERENCES = "#/components/schemas/"


def described(definitions: dict[str, Schema], references: str = REFERENCES) -> dict[str, Schema]:
    """``definitions`` with the texts and examples of objects and their fields.

    ``references``: what stands before an object's name where one refers to it. pydantic's titles
    are left out: they only repeat the names. Defaults stand in the texts: generators of clients
    take fields that have one for fields that requests must have.
    """
    for name, schema in definitions.items():
        schema.pop("title", None)
        object_ = OBJECTS.get(name)
        if object_ is not None:
            schema["description"] = object_.text
    for name, schema in definitions.items():
        for field, shape in schema.get("properties", {}).items():
            _untitled(shape)
            default = shape.pop("default", None)
            about = OBJECTS[name].fields.get(field) if name in OBJECTS else None
            if about is None:
                continue
            shape["description"] = about.text
            if default is not None and field not in schema.get("required", ()):
                shape["description"] += f" Absent: `{json.dumps(default)}`."
            shape.update(about.more)
            shape["examples"] = list(about.examples) or [_nested(shape, definitions, references)]
    return definitions


def example_of(schema: Schema, definitions: dict[str, Schema], references: str = REFERENCES) -> Any:
    """The value of ``schema`` that the examples of its fields make."""
    if "$ref" not in schema:
        return _nested(schema, definitions, references)
    name = schema["$ref"].removeprefix(references)
    fields = OBJECTS[name].fields if name in OBJECTS else {}
    return {
        field: fields[field].examples[-1]
        if field in fields and fields[field].examples
        else _nested(shape, definitions, references)
        for field, shape in definitions[name].get("properties", {}).items()
    }


def _nested(shape: Schema, definitions: dict[str, Schema], references: str) -> Any:
    """The example of a field that is an object of its own, or a list of them."""
    if "anyOf" in shape:
        return _nested(shape["anyOf"][0], definitions, references)
    if "$ref" in shape:
        return example_of({"$ref": shape["$ref"]}, definitions, references)
    if shape.get("type") == "array" and "$ref" in shape.get("items", {}):
        return [example_of(shape["items"], definitions, references)]
    return None


def _untitled(shape: Schema) -> None:
    shape.pop("title", None)
    for branch in shape.get("anyOf", ()):
        branch.pop("title", None)
