"""The API's OpenAPI document, made from the very table of routes that is served.

Paths and methods come from the table, and the shapes from the models that parse requests and write
answers; so the document cannot say anything else than the service does. A route that nobody has
described is still listed.
"""

import re
from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from batch_gateway.web.api.operations import (
    EXTENDED,
    OPERATION_IDS,
    STANDARD,
    TAGS,
    Model,
    Operation,
    Schema,
)
from batch_gateway.web.api.routing import Routes
from batch_gateway.web.envelope import ErrorBody

VERSION = "3.1.0"
_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")
_REFERENCES = "#/components/schemas/{model}"


def document(routes: Routes, *, strict: bool) -> dict[str, Any]:
    """The document of ``routes``; ``strict``: as they are without extensions."""
    known = STANDARD if strict else EXTENDED
    operations = {
        (method, path): known.get((method, path), Operation(summary=handler.__name__))
        for path, methods in routes.items()
        for method, handler in methods.items()
    }
    schemas = _Schemas(operations.values())
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in operations.items():
        described = _named(method, path) | _described(operation, path, schemas)
        paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[method.lower()] = described
    return {
        "openapi": VERSION,
        "info": {
            "title": "Batch Gateway",
            "version": "1",
            "description": "OpenAI's files, uploads, batches and models for your own engines.",
        },
        "servers": [{"url": "/", "description": "The service that this document comes from."}],
        "security": [{"bearer": []}, {}],
        "tags": [{"name": name, "description": text} for name, text in dict(TAGS.values()).items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The tenant's API key or token; none while auth.kind is none.",
                }
            },
            "schemas": schemas.definitions,
        },
    }


def _named(method: str, path: str) -> dict[str, Any]:
    """What generated clients call the route, and where they put it."""
    name = OPERATION_IDS.get((method, path))
    tag = TAGS.get(path.removeprefix("/v1/").partition("/")[0])
    return {
        **({"operationId": name} if name else {}),
        **({"tags": [tag[0]]} if tag else {}),
    }


class _Schemas:
    """The models of all operations as JSON Schema."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        wanted: dict[tuple[Model, JsonSchemaMode], None] = {(ErrorBody, "serialization"): None}
        for operation in operations:
            if operation.answer is not None:
                wanted[operation.answer, "serialization"] = None
            if operation.body is not None:
                wanted[operation.body, "validation"] = None
            for field in operation.form.values():
                if not isinstance(field, dict):
                    wanted[field, "validation"] = None
        self._references, schema = models_json_schema(list(wanted), ref_template=_REFERENCES)
        self.definitions: dict[str, Schema] = schema["$defs"]

    def asked(self, model: Model) -> Schema:
        return self._references[model, "validation"]

    def answered(self, model: Model) -> Schema:
        return self._references[model, "serialization"]


def _described(operation: Operation, path: str, schemas: _Schemas) -> dict[str, Any]:
    if operation.answer is None:
        content: Schema = {operation.media_type: {}}
    else:
        content = {"application/json": {"schema": schemas.answered(operation.answer)}}
    failure = {"application/json": {"schema": schemas.answered(ErrorBody)}}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [*_in_path(path), *_in_query(operation)],
        "responses": {
            "200": {"description": "Done", "content": content},
            "default": {"description": "Refused, or not possible now", "content": failure},
        },
    }
    if operation.body is not None:
        described["requestBody"] = _body(
            "application/json", {"schema": schemas.asked(operation.body)}
        )
    if operation.form:
        described["requestBody"] = _body("multipart/form-data", _form(operation, schemas))
    return described


def _in_path(path: str) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name, _ in _PARAMETER.findall(path)
    ]


def _in_query(operation: Operation) -> list[Schema]:
    return [
        {
            "name": name,
            "in": "query",
            "schema": schema,
            **({"required": True} if name in operation.required_query else {}),
            **({"style": "deepObject"} if schema["type"] == "object" else {}),
        }
        for name, schema in operation.query.items()
    ]


def _body(media_type: str, content: Schema) -> Schema:
    return {"required": True, "content": {media_type: content}}


def _form(operation: Operation, schemas: _Schemas) -> Schema:
    """A form's parts; those that are objects are sent as JSON."""
    fields = {
        name: field if isinstance(field, dict) else schemas.asked(field)
        for name, field in operation.form.items()
    }
    return {
        "schema": {
            "type": "object",
            "properties": fields,
            "required": list(operation.required),
            "additionalProperties": False,
        },
    }
