"""Builds the API's OpenAPI document from the table of routes.

Paths and methods come from the table, and the shapes from the models that parse requests and write
answers; so the document cannot say anything else than the service does. A route without a
description is still listed. What fields mean stands in ``descriptions``.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from batch_gateway.web.api.descriptions.applied import REFERENCES, described, example_of
from batch_gateway.web.api.operations import (
    EXTENDED,
    IN_PATH,
    POST_HEADERS,
    STANDARD,
    TAGS,
    ApiOperation,
    Model,
    Schema,
)
from batch_gateway.web.api.routing import HandlersByPath
from batch_gateway.web.envelope import ErrorBody

VERSION = "3.1.0"

#: Model -> what generated clients call it, where that is not the model's own name.
NAMES = {
    "AdminDeadLetterDetail": "DeadLetterDetail",
    "AdminDeadLetter": "DeadLetter",
    "ChainedInput": "BatchAfter",
    "AuditEntryObject": "AuditEntry",
    "SessionObject": "Session",
    "BatchAnalyticsObject": "BatchAnalytics",
    "BatchErrorObject": "BatchError",
    "BatchObject": "Batch",
    "BatchRequestObject": "BatchRequest",
    "Blocked": "BlockedReason",
    "CreateBatchOrInline": "CreateBatch",
    "ErrorBody": "ErrorResponse",
    "ErrorObject": "Error",
    "ExtendedBatchList": "BatchList",
    "ExtendedBatchObject": "Batch",
    "ExtendedWebhookEndpointList": "WebhookEndpointList",
    "ExtendedWebhookEndpointObject": "WebhookEndpoint",
    "ExtendedWebhookEndpointWithSecret": "WebhookEndpointWithSecret",
    "FileObject": "File",
    "ModelObject": "Model",
    "PartObject": "UploadPart",
    "PoolSampleObject": "PoolSample",
    "UploadObject": "Upload",
    "WebhookDeliveryObject": "WebhookDelivery",
    "WebhookEndpointObject": "WebhookEndpoint",
}
_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


def document(routes: HandlersByPath, *, strict: bool) -> dict[str, Any]:
    """The document of ``routes``; ``strict``: as they are without extensions."""
    known = STANDARD if strict else EXTENDED
    operations = {
        (method, path): known.get((method, path), ApiOperation(id="", summary=handler.__name__))
        for path, methods in routes.items()
        for method, handler in methods.items()
    }
    schemas = _Schemas(operations.values())
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in operations.items():
        entry = _named(operation, path) | _described(method, path, operation, schemas)
        paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[method.lower()] = entry
    made = {
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
    return _renamed(made)


def _renamed(made: dict[str, Any]) -> dict[str, Any]:
    """``made`` with the objects called as ``NAMES`` has it."""
    schemas = made["components"]["schemas"]
    names = {name: NAMES.get(name, name) for name in schemas}
    if len(set(names.values())) < len(names):
        raise ValueError(f"two objects would have one name: {sorted(names.values())}")

    def walk(part: Any) -> Any:
        if isinstance(part, list):
            return [walk(each) for each in part]
        if not isinstance(part, dict):
            return part
        return {
            key: REFERENCES + names[value.removeprefix(REFERENCES)]
            if key == "$ref"
            else walk(value)
            for key, value in part.items()
        }

    made["components"]["schemas"] = {names[name]: schema for name, schema in schemas.items()}
    renamed: dict[str, Any] = walk(made)
    return renamed


def _named(operation: ApiOperation, path: str) -> dict[str, Any]:
    """What generated clients call the route, and where they put it."""
    tag = TAGS.get(path.removeprefix("/v1/").partition("/")[0])
    return {
        **({"operationId": operation.id} if operation.id else {}),
        **({"tags": [tag[0]]} if tag else {}),
    }


class _WholeAnswers(GenerateJsonSchema):
    """Answers have all their keys, also those whose value is always the same."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return self.mode == "serialization" or super().field_is_required(field, total)


class _Schemas:
    """The models of all operations as JSON Schema, with the texts and examples of their fields."""

    def __init__(self, operations: Iterable[ApiOperation]) -> None:
        wanted: dict[tuple[Model, JsonSchemaMode], None] = {(ErrorBody, "serialization"): None}
        for operation in operations:
            if operation.answer is not None:
                wanted[operation.answer, "serialization"] = None
            if operation.body is not None:
                wanted[operation.body, "validation"] = None
            for field in operation.form.values():
                if not isinstance(field, dict):
                    wanted[field, "validation"] = None
        self._references, schema = models_json_schema(
            list(wanted), ref_template=REFERENCES + "{model}", schema_generator=_WholeAnswers
        )
        self.definitions: dict[str, Schema] = described(schema["$defs"])

    def asked(self, model: Model) -> Schema:
        return self._content(self._references[model, "validation"])

    def answered(self, model: Model) -> Schema:
        return self._content(self._references[model, "serialization"])

    def _content(self, reference: Schema) -> Schema:
        return {"schema": reference, "example": example_of(reference, self.definitions)}


def _described(
    method: str, path: str, operation: ApiOperation, schemas: _Schemas
) -> dict[str, Any]:
    if operation.answer is None:
        binary = {"format": "binary"} if operation.media_type == "application/octet-stream" else {}
        content: Schema = {
            operation.media_type: {
                "schema": {"type": "string", **binary},
                "example": operation.sample,
            }
        }
    else:
        content = {"application/json": schemas.answered(operation.answer)}
    failure = {"application/json": schemas.answered(ErrorBody)}
    entry: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [
            *(_parameter("path", name, IN_PATH[name], required=True) for name in _names(path)),
            *_in_query(operation),
            *(_in_headers() if method == "POST" else ()),
        ],
        "responses": {
            "200": {"description": "Done", "content": content},
            "4XX": {"description": "Refused: another request may do", "content": failure},
            "5XX": {"description": "Not possible now", "content": failure},
        },
    }
    if operation.body is not None:
        entry["requestBody"] = _body("application/json", schemas.asked(operation.body))
    if operation.form:
        entry["requestBody"] = _body("multipart/form-data", _form(operation, schemas))
    return entry


def _names(path: str) -> list[str]:
    return [name for name, _ in _PARAMETER.findall(path)]


def _in_query(operation: ApiOperation) -> Iterable[Schema]:
    for name, schema in operation.query.items():
        yield _parameter("query", name, schema, required=name in operation.required_query)


def _in_headers() -> Iterable[Schema]:
    for name, schema in POST_HEADERS.items():
        yield _parameter("header", name, schema, required=False)


def _parameter(where: str, name: str, schema: Mapping[str, Any], *, required: bool) -> Schema:
    shape = {key: value for key, value in schema.items() if key not in ("description", "examples")}
    return {
        "name": name,
        "in": where,
        "description": schema["description"],
        "schema": shape,
        "example": schema["examples"][0],
        **({"required": True} if required else {}),
        **({"style": "deepObject"} if schema["type"] == "object" else {}),
    }


def _body(media_type: str, content: Schema) -> Schema:
    return {"required": True, "content": {media_type: content}}


def _form(operation: ApiOperation, schemas: _Schemas) -> Schema:
    """A form's parts; those that are objects are sent as JSON."""
    fields, example = {}, {}
    for name, field in operation.form.items():
        if isinstance(field, dict):
            fields[name], example[name] = field, field["examples"][0]
        else:
            asked = schemas.asked(field)
            example[name] = asked["example"]
            about = schemas.definitions[field.__name__]["description"]
            fields[name] = {**asked["schema"], "description": about, "examples": [asked["example"]]}
    return {
        "schema": {
            "type": "object",
            "properties": fields,
            "required": list(operation.required),
            "additionalProperties": False,
        },
        "example": example,
    }
