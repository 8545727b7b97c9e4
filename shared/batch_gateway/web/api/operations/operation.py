"""The type that describes a route."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, create_model

from batch_gateway.web.api.descriptions.about import (
    BATCH,
    CREATED,
    INPUT,
    KEY,
    LETTER,
    RESULT,
    UPLOAD,
    WEBHOOK,
)
from batch_gateway.web.openai import (
    ListObject,
)

Schema = dict[str, Any]
Model = type[BaseModel]


def list_of(kind: Model, name: str) -> Model:
    return create_model(name, __base__=ListObject, data=(list[kind], ...))  # type: ignore[valid-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOperation:
    """A route. Schemas of parameters and parts of forms have a description and examples."""

    id: str  # in generated clients: OpenAI's own name where it has the route
    summary: str
    answer: Model | None = None  # None: bytes
    media_type: str = "application/octet-stream"  # of bytes
    sample: str = ""  # of bytes
    body: Model | None = None  # of JSON
    form: Mapping[str, Schema | Model] = field(default_factory=dict)  # of a multipart form
    required: tuple[str, ...] = ()  # fields of the form
    query: Mapping[str, Schema] = field(default_factory=dict)
    required_query: tuple[str, ...] = ()


def said(schema: Schema, description: str, *examples: Any) -> Schema:
    return {**schema, "description": description, "examples": list(examples)}


STRING: Schema = {"type": "string"}
IDENTIFIER: Schema = {"type": "string", "minLength": 1}

#: Parameters in paths.
IN_PATH: dict[str, Schema] = {
    "file_id": said(IDENTIFIER, "The id of a file.", INPUT),
    "upload_id": said(IDENTIFIER, "The id of an upload.", UPLOAD),
    "batch_id": said(IDENTIFIER, "The id of a batch.", BATCH),
    "endpoint_id": said(IDENTIFIER, "The id of a webhook endpoint.", WEBHOOK),
    "letter_id": said(IDENTIFIER, "The id of a dead letter.", LETTER),
    "key_id": said(IDENTIFIER, "The id of an API key.", KEY),
    "model": said(IDENTIFIER, "The name of a model; it may have slashes.", "sim-large"),
}

#: Headers that every POST may have.
POST_HEADERS: dict[str, Schema] = {
    "Idempotency-Key": said(
        {"type": "string", "pattern": "^[!-~]{1,255}$"},
        "A name of your own for this request. The same request with the same name gets the same "
        "answer for 24 hours, and is done once.",
        "nightly-2026-11-30",
    )
}


BINARY: Schema = {"type": "string", "format": "binary"}
AFTER: Schema = said(STRING, "The `last_id` of the page before; absent: the first page.", "...")


def limit(least: int, most: int, default: int) -> Schema:
    bounds = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return said(bounds, "How much a page holds at most.", default)


ENDPOINT = "/v1/webhook_endpoints/{endpoint_id}"
WEBHOOK_PAGE = {"after": AFTER, "limit": limit(1, 100, 20)}
PAGE = {"after": AFTER, "limit": limit(0, 100, 20)}


def instant(description: str) -> Schema:
    return said({"type": "integer", "minimum": 0}, f"{description}, in unix seconds.", CREATED)


LINE = json.dumps(RESULT) + "\n"
