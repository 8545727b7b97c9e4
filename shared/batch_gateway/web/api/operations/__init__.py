"""Parameters, bodies and responses of each route, for the OpenAPI document."""

from batch_gateway.web.api.operations.admin import ADMIN
from batch_gateway.web.api.operations.extensions import EXTENSIONS, CreateBatchOrInline
from batch_gateway.web.api.operations.openai import STANDARD
from batch_gateway.web.api.operations.operation import (
    IN_PATH,
    POST_HEADERS,
    ApiOperation,
    Model,
    Schema,
)

__all__ = [
    "EXTENDED",
    "IN_PATH",
    "POST_HEADERS",
    "STANDARD",
    "TAGS",
    "ApiOperation",
    "CreateBatchOrInline",
    "Model",
    "Schema",
]

#: (method, path) -> what clients find there beyond OpenAI's API too.
EXTENDED = {**EXTENSIONS, **ADMIN}

#: The first word of a path -> the tag of its routes, and the tag's description.
TAGS: dict[str, tuple[str, str]] = {
    "files": ("Files", "Input files, output files and error files."),
    "uploads": ("Uploads", "Files that come in parts."),
    "batches": ("Batch", "Many requests with one deadline."),
    "usage": ("Usage", "Requests, tokens and cost of ended batches, by day."),
    "session": ("Operators", "The service as a whole, for keys with the scope operate."),
    "admin": ("Operators", "The service as a whole, for keys with the scope operate."),
    "models": ("Models", "What requests may name."),
    "webhook_endpoints": ("Webhooks", "Signed calls when a batch has ended."),
    "webhook_event_types": ("Webhooks", "Signed calls when a batch has ended."),
}
