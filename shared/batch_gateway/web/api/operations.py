"""Parameters, bodies and responses of each route, for the OpenAPI document."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import BaseModel, Field, create_model

from batch_gateway.core.model import BatchStatus
from batch_gateway.services.files.content import PURPOSES
from batch_gateway.web.admin_objects import (
    AdminActivations,
    AdminDeadLetter,
    AdminDeadLetterDetail,
    AdminKey,
    AdminKeyWithSecret,
    AdminPool,
    AdminQueue,
    AdminTenant,
    AuditEntryObject,
    CreateKey,
    DeadLetterDeleted,
    DeadLetterReplayed,
    SessionObject,
)
from batch_gateway.web.admin_work_objects import AdminBatch, AdminFunction
from batch_gateway.web.api.descriptions.about import (
    BATCH,
    CREATED,
    INPUT,
    KEY,
    LETTER,
    REQUEST,
    RESULT,
    UPLOAD,
    WEBHOOK,
)
from batch_gateway.web.extensions import (
    BatchDeleted,
    BatchRequestObject,
    CreateExtendedBatch,
    ExtendedBatchObject,
    RetryBatch,
    UpdateBatch,
)
from batch_gateway.web.inline import MOST
from batch_gateway.web.openai import (
    BatchObject,
    CreateBatch,
    ExpiresAfter,
    FileDeleted,
    FileObject,
    ListObject,
)
from batch_gateway.web.openai_models import ModelList, ModelObject
from batch_gateway.web.openai_uploads import CompleteUpload, CreateUpload, PartObject, UploadObject
from batch_gateway.web.openai_usage import BatchAnalyticsObject, UsagePage
from batch_gateway.web.openai_webhooks import (
    CreateWebhookEndpoint,
    ExtendedWebhookEndpointObject,
    ExtendedWebhookEndpointWithSecret,
    RotateWebhookSecret,
    TestWebhookEndpoint,
    UpdateWebhookEndpoint,
    WebhookDeliveryObject,
    WebhookEndpointDeleted,
    WebhookEndpointObject,
    WebhookEndpointTested,
    WebhookEndpointWithSecret,
    WebhookEventTypeList,
)

Schema = dict[str, Any]
Model = type[BaseModel]


def _list_of(kind: Model, name: str) -> Model:
    return create_model(name, __base__=ListObject, data=(list[kind], ...))  # type: ignore[valid-type]


FileList = _list_of(FileObject, "FileList")
BatchList = _list_of(BatchObject, "BatchList")
ExtendedBatchList = _list_of(ExtendedBatchObject, "ExtendedBatchList")
WebhookEndpointList = _list_of(WebhookEndpointObject, "WebhookEndpointList")
ExtendedWebhookEndpointList = _list_of(ExtendedWebhookEndpointObject, "ExtendedWebhookEndpointList")
PoolList = _list_of(AdminPool, "PoolList")
AdminBatchList = _list_of(AdminBatch, "AdminBatchList")
FunctionList = _list_of(AdminFunction, "FunctionList")
TenantList = _list_of(AdminTenant, "TenantList")
DeadLetterList = _list_of(AdminDeadLetter, "DeadLetterList")
KeyList = _list_of(AdminKey, "KeyList")
AuditEntryList = _list_of(AuditEntryObject, "AuditEntryList")
WebhookDeliveryList = _list_of(WebhookDeliveryObject, "WebhookDeliveryList")

#: Requests inside the body are taken out of it before the rest is parsed (see ``web.inline``).
CreateBatchOrInline = create_model(
    "CreateBatchOrInline",
    __base__=CreateExtendedBatch,
    input_file_id=(str | None, None),
    requests=(Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST)] | None, None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A route. Schemas of parameters and parts of forms have a description and examples."""

    summary: str
    answer: Model | None = None  # None: bytes
    media_type: str = "application/octet-stream"  # of bytes
    sample: str = ""  # of bytes
    body: Model | None = None  # of JSON
    form: Mapping[str, Schema | Model] = field(default_factory=dict)  # of a multipart form
    required: tuple[str, ...] = ()  # fields of the form
    query: Mapping[str, Schema] = field(default_factory=dict)
    required_query: tuple[str, ...] = ()


def _said(schema: Schema, description: str, *examples: Any) -> Schema:
    return {**schema, "description": description, "examples": list(examples)}


_STRING: Schema = {"type": "string"}
_IDENTIFIER: Schema = {"type": "string", "minLength": 1}

#: Parameters in paths.
IN_PATH: dict[str, Schema] = {
    "file_id": _said(_IDENTIFIER, "The id of a file.", INPUT),
    "upload_id": _said(_IDENTIFIER, "The id of an upload.", UPLOAD),
    "batch_id": _said(_IDENTIFIER, "The id of a batch.", BATCH),
    "endpoint_id": _said(_IDENTIFIER, "The id of a webhook endpoint.", WEBHOOK),
    "letter_id": _said(_IDENTIFIER, "The id of a dead letter.", LETTER),
    "key_id": _said(_IDENTIFIER, "The id of an API key.", KEY),
    "model": _said(_IDENTIFIER, "The name of a model; it may have slashes.", "sim-large"),
}

#: Headers that every POST may have.
POST_HEADERS: dict[str, Schema] = {
    "Idempotency-Key": _said(
        {"type": "string", "pattern": "^[!-~]{1,255}$"},
        "A name of your own for this request. The same request with the same name gets the same "
        "answer for 24 hours, and is done once.",
        "nightly-2026-11-30",
    )
}


#: What a route is called in generated clients: OpenAI's own name where it has the route.
OPERATION_IDS: dict[tuple[str, str], str] = {
    ("GET", "/v1/files"): "listFiles",
    ("POST", "/v1/files"): "createFile",
    ("GET", "/v1/files/{file_id}"): "retrieveFile",
    ("DELETE", "/v1/files/{file_id}"): "deleteFile",
    ("GET", "/v1/files/{file_id}/content"): "downloadFile",
    ("POST", "/v1/uploads"): "createUpload",
    ("POST", "/v1/uploads/{upload_id}/parts"): "addUploadPart",
    ("POST", "/v1/uploads/{upload_id}/complete"): "completeUpload",
    ("POST", "/v1/uploads/{upload_id}/cancel"): "cancelUpload",
    ("GET", "/v1/batches"): "listBatches",
    ("POST", "/v1/batches"): "createBatch",
    ("GET", "/v1/batches/{batch_id}"): "retrieveBatch",
    ("DELETE", "/v1/batches/{batch_id}"): "deleteBatch",
    ("POST", "/v1/batches/{batch_id}/cancel"): "cancelBatch",
    ("POST", "/v1/batches/{batch_id}/pause"): "pauseBatch",
    ("POST", "/v1/batches/{batch_id}/resume"): "resumeBatch",
    ("POST", "/v1/batches/{batch_id}/update"): "updateBatch",
    ("POST", "/v1/batches/{batch_id}/retry"): "retryBatch",
    ("GET", "/v1/batches/{batch_id}/results"): "listBatchResults",
    ("GET", "/v1/batches/{batch_id}/requests"): "retrieveBatchRequest",
    ("GET", "/v1/batches/{batch_id}/analytics"): "retrieveBatchAnalytics",
    ("GET", "/v1/usage"): "listUsage",
    ("GET", "/v1/session"): "retrieveSession",
    ("GET", "/v1/admin/batches"): "listOpenBatches",
    ("GET", "/v1/admin/functions"): "listFunctions",
    ("GET", "/v1/admin/pools"): "listPools",
    ("GET", "/v1/admin/queue"): "retrieveQueue",
    ("GET", "/v1/admin/tenants"): "listTenants",
    ("GET", "/v1/admin/activations"): "retrieveActivations",
    ("GET", "/v1/admin/dead_letters"): "listDeadLetters",
    ("GET", "/v1/admin/dead_letters/{letter_id}"): "retrieveDeadLetter",
    ("DELETE", "/v1/admin/dead_letters/{letter_id}"): "deleteDeadLetter",
    ("POST", "/v1/admin/dead_letters/{letter_id}/replay"): "replayDeadLetter",
    ("GET", "/v1/admin/keys"): "listKeys",
    ("POST", "/v1/admin/keys"): "createKey",
    ("POST", "/v1/admin/keys/{key_id}/revoke"): "revokeKey",
    ("GET", "/v1/admin/audit"): "listAuditEntries",
    ("GET", "/v1/models"): "listModels",
    ("GET", "/v1/models/{model:path}"): "retrieveModel",
    ("GET", "/v1/webhook_endpoints"): "listWebhookEndpoints",
    ("POST", "/v1/webhook_endpoints"): "createWebhookEndpoint",
    ("GET", "/v1/webhook_endpoints/{endpoint_id}"): "retrieveWebhookEndpoint",
    ("POST", "/v1/webhook_endpoints/{endpoint_id}"): "updateWebhookEndpoint",
    ("DELETE", "/v1/webhook_endpoints/{endpoint_id}"): "deleteWebhookEndpoint",
    ("POST", "/v1/webhook_endpoints/{endpoint_id}/rotate_secret"): "rotateWebhookEndpointSecret",
    ("POST", "/v1/webhook_endpoints/{endpoint_id}/test"): "testWebhookEndpoint",
    ("GET", "/v1/webhook_endpoints/{endpoint_id}/deliveries"): "listWebhookDeliveries",
    ("GET", "/v1/webhook_event_types"): "listWebhookEventTypes",
}

#: The first word of a path -> the tag of its routes, and what the tag says.
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

_BINARY: Schema = {"type": "string", "format": "binary"}
_PURPOSE: Schema = _said(
    {"type": "string", "enum": sorted(PURPOSES)},
    "What the file is for. Batches take input files of the purpose `batch`.",
    "batch",
)
_AFTER: Schema = _said(_STRING, "The `last_id` of the page before; absent: the first page.", "...")


def _limit(least: int, most: int, default: int) -> Schema:
    bounds = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return _said(bounds, "How much a page holds at most.", default)


_ENDPOINT = "/v1/webhook_endpoints/{endpoint_id}"
_WEBHOOK_PAGE = {"after": _AFTER, "limit": _limit(1, 100, 20)}
_PAGE = {"after": _AFTER, "limit": _limit(0, 100, 20)}
_ADMIN_PAGE = {"after": _AFTER, "limit": _limit(1, 1000, 100)}
_TENANT = _said(_STRING, "Only those of this tenant.", "acme")
_CURSOR: Schema = _said(
    _STRING,
    "The header `x-next-cursor` of the page before, or the last `cursor` of a followed answer; "
    "absent: from the beginning.",
    "eJyLNjTQM",
)
_FOLLOW: Schema = _said(
    {"type": "string", "enum": ["true", "false"], "default": "false"},
    "`true`: the answer goes on until the batch has ended.",
    "true",
)


def _instant(description: str) -> Schema:
    return _said({"type": "integer", "minimum": 0}, f"{description}, in unix seconds.", CREATED)


_FILTERS: dict[str, Schema] = {
    "status": _said(
        {"type": "string", "enum": [status.value for status in BatchStatus]},
        "Only batches in this state.",
        "completed",
    ),
    "model": _said(_STRING, "Only batches of this model.", "sim-large"),
    "created_after": _instant("Only batches that were created later"),
    "created_before": _instant("Only batches that were created earlier"),
    "metadata": _said(
        {"type": "object", "additionalProperties": {"type": "string"}},
        "Only batches with these metadata, as `metadata[key]=value`.",
        {"team": "support"},
    ),
}
_LINE = json.dumps(RESULT) + "\n"

#: (method, path) -> what OpenAI's clients find there.
STANDARD: dict[tuple[str, str], Operation] = {
    ("GET", "/v1/files"): Operation(
        summary="List files",
        answer=FileList,
        query={
            "after": _AFTER,
            "limit": _limit(1, 10_000, 10_000),
            "order": _said(
                {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
                "By the time of creation: `desc` begins with the newest.",
                "asc",
            ),
            "purpose": _said(_STRING, "Only files of this purpose.", "batch"),
        },
    ),
    ("POST", "/v1/files"): Operation(
        summary="Upload a file",
        answer=FileObject,
        form={
            "purpose": _PURPOSE,
            "expires_after": ExpiresAfter,
            "file": _said(
                _BINARY, "The bytes of the file, with a filename.", json.dumps(REQUEST) + "\n"
            ),
        },
        required=("purpose", "file"),
    ),
    ("GET", "/v1/files/{file_id}"): Operation(summary="Describe a file", answer=FileObject),
    ("DELETE", "/v1/files/{file_id}"): Operation(summary="Delete a file", answer=FileDeleted),
    ("GET", "/v1/files/{file_id}/content"): Operation(
        summary="Download a file, or a range of it", sample=_LINE
    ),
    ("POST", "/v1/uploads"): Operation(
        summary="Begin a file that comes in parts", answer=UploadObject, body=CreateUpload
    ),
    ("POST", "/v1/uploads/{upload_id}/parts"): Operation(
        summary="Add a part",
        answer=PartObject,
        form={"data": _said(_BINARY, "The bytes of the part, up to 64 MiB.", "...")},
        required=("data",),
    ),
    ("POST", "/v1/uploads/{upload_id}/complete"): Operation(
        summary="Join the parts to a file", answer=UploadObject, body=CompleteUpload
    ),
    ("POST", "/v1/uploads/{upload_id}/cancel"): Operation(
        summary="Give up an upload", answer=UploadObject
    ),
    ("GET", "/v1/batches"): Operation(
        summary="List batches, newest first", answer=BatchList, query=_PAGE
    ),
    ("POST", "/v1/batches"): Operation(
        summary="Create a batch", answer=BatchObject, body=CreateBatch
    ),
    ("GET", "/v1/batches/{batch_id}"): Operation(summary="Describe a batch", answer=BatchObject),
    ("POST", "/v1/batches/{batch_id}/cancel"): Operation(
        summary="Cancel a batch", answer=BatchObject
    ),
    ("GET", "/v1/webhook_endpoints"): Operation(
        summary="List webhook endpoints, newest first",
        answer=WebhookEndpointList,
        query=_WEBHOOK_PAGE,
    ),
    ("POST", "/v1/webhook_endpoints"): Operation(
        summary="Be told of batches that end",
        answer=WebhookEndpointWithSecret,
        body=CreateWebhookEndpoint,
    ),
    ("GET", _ENDPOINT): Operation(
        summary="Describe a webhook endpoint", answer=WebhookEndpointObject
    ),
    ("POST", _ENDPOINT): Operation(
        summary="Change a webhook endpoint; one that was disabled hears again",
        answer=WebhookEndpointObject,
        body=UpdateWebhookEndpoint,
    ),
    ("DELETE", _ENDPOINT): Operation(
        summary="Delete a webhook endpoint", answer=WebhookEndpointDeleted
    ),
    ("POST", f"{_ENDPOINT}/rotate_secret"): Operation(
        summary="Give a webhook endpoint a new secret",
        answer=WebhookEndpointWithSecret,
        body=RotateWebhookSecret,
    ),
    ("POST", f"{_ENDPOINT}/test"): Operation(
        summary="Send an example to a webhook endpoint",
        answer=WebhookEndpointTested,
        body=TestWebhookEndpoint,
    ),
    ("GET", "/v1/webhook_event_types"): Operation(
        summary="List what webhook endpoints can hear of", answer=WebhookEventTypeList
    ),
    ("GET", "/v1/models"): Operation(summary="List models", answer=ModelList),
    ("GET", "/v1/models/{model:path}"): Operation(summary="Describe a model", answer=ModelObject),
}

#: Answer -> the same with extensions.
_EXTENDED_ANSWERS: dict[Model | None, Model] = {
    BatchObject: ExtendedBatchObject,
    BatchList: ExtendedBatchList,
    WebhookEndpointObject: ExtendedWebhookEndpointObject,
    WebhookEndpointWithSecret: ExtendedWebhookEndpointWithSecret,
    WebhookEndpointList: ExtendedWebhookEndpointList,
}

#: The same beyond OpenAI's API: other routes, and other answers of the same routes.
EXTENDED: dict[tuple[str, str], Operation] = {
    **{
        route: replace(operation, answer=_EXTENDED_ANSWERS.get(operation.answer, operation.answer))
        for route, operation in STANDARD.items()
    },
    ("GET", f"{_ENDPOINT}/deliveries"): Operation(
        summary="List what a webhook endpoint has been told, newest first",
        answer=WebhookDeliveryList,
        query=_WEBHOOK_PAGE,
    ),
    ("GET", "/v1/batches"): Operation(
        summary="List batches, newest first", answer=ExtendedBatchList, query=_PAGE | _FILTERS
    ),
    ("POST", "/v1/batches"): Operation(
        summary="Create a batch", answer=ExtendedBatchObject, body=CreateBatchOrInline
    ),
    ("DELETE", "/v1/batches/{batch_id}"): Operation(
        summary="Remove a batch that has ended", answer=BatchDeleted
    ),
    ("POST", "/v1/batches/{batch_id}/pause"): Operation(
        summary="Start no more lines of a batch", answer=ExtendedBatchObject
    ),
    ("POST", "/v1/batches/{batch_id}/resume"): Operation(
        summary="Go on with a paused batch", answer=ExtendedBatchObject
    ),
    ("POST", "/v1/batches/{batch_id}/update"): Operation(
        summary="Change a batch that has not ended", answer=ExtendedBatchObject, body=UpdateBatch
    ),
    ("POST", "/v1/batches/{batch_id}/retry"): Operation(
        summary="Run again what failed in a batch that has ended, as a new batch",
        answer=ExtendedBatchObject,
        body=RetryBatch,
    ),
    ("GET", "/v1/batches/{batch_id}/results"): Operation(
        summary="Read the results that there are, and those to come",
        media_type="application/jsonl",
        sample=_LINE,
        query={"after": _CURSOR, "limit": _limit(0, 10_000, 1000), "follow": _FOLLOW},
    ),
    ("GET", "/v1/batches/{batch_id}/requests"): Operation(
        summary="Tell what has become of one request",
        answer=BatchRequestObject,
        query={"custom_id": _said(_STRING, "Your name for the request.", "ticket-1")},
        required_query=("custom_id",),
    ),
    ("GET", "/v1/batches/{batch_id}/analytics"): Operation(
        summary="Show phases, throughput, latencies, retries, errors and cost of a batch",
        answer=BatchAnalyticsObject,
    ),
    ("GET", "/v1/usage"): Operation(
        summary="Add up requests, tokens and cost of ended batches by day",
        answer=UsagePage,
        query={
            "start_time": _instant("The first day that is shown is the one of this instant"),
            "end_time": _instant("Only days that begin earlier"),
            "bucket_width": _said(
                {"type": "string", "enum": ["1d"], "default": "1d"}, "The length of a bucket.", "1d"
            ),
            "group_by": _said(
                _STRING,
                "What sums are told apart by: `project_id` (the tenant), `api_key_id`, `model`, or "
                "several of them with commas.",
                "model",
            ),
            "project_ids": _said(_STRING, "Only these tenants, with commas.", "acme"),
            "api_key_ids": _said(
                _STRING, "Only these API keys, with commas.", "key_5f2d7c9b1a3e4f60"
            ),
            "models": _said(_STRING, "Only these models, with commas.", "sim-large"),
            "limit": _limit(1, 180, 7),
            "page": _said(_STRING, "The `next_page` of the page before.", "page_1764547200"),
            "format": _said(
                {"type": "string", "enum": ["json", "csv"], "default": "json"},
                "The form of the answer; `Accept: text/csv` asks for CSV too.",
                "json",
            ),
        },
        required_query=("start_time",),
    ),
    ("GET", "/v1/session"): Operation(
        summary="Tell who asks, and what they may do", answer=SessionObject
    ),
    ("GET", "/v1/admin/batches"): Operation(
        summary="List the open batches of all tenants, the first deadline first",
        answer=AdminBatchList,
        query=_ADMIN_PAGE,
    ),
    ("GET", "/v1/admin/functions"): Operation(
        summary="List the functions with their instances", answer=FunctionList
    ),
    ("GET", "/v1/admin/pools"): Operation(
        summary="List the limits of endpoints and models", answer=PoolList
    ),
    ("GET", "/v1/admin/queue"): Operation(summary="Show what waits", answer=AdminQueue),
    ("GET", "/v1/admin/tenants"): Operation(
        summary="List what tenants have", answer=TenantList, query=_ADMIN_PAGE
    ),
    ("GET", "/v1/admin/activations"): Operation(
        summary="Count the executor requests that are open", answer=AdminActivations
    ),
    ("GET", "/v1/admin/dead_letters"): Operation(
        summary="List events that no subscriber has taken, newest first",
        answer=DeadLetterList,
        query={"limit": _limit(1, 1000, 100)},
    ),
    ("GET", "/v1/admin/dead_letters/{letter_id}"): Operation(
        summary="Show a dead letter with its data", answer=AdminDeadLetterDetail
    ),
    ("DELETE", "/v1/admin/dead_letters/{letter_id}"): Operation(
        summary="Delete a dead letter", answer=DeadLetterDeleted
    ),
    ("POST", "/v1/admin/dead_letters/{letter_id}/replay"): Operation(
        summary="Send the event of a dead letter again", answer=DeadLetterReplayed
    ),
    ("GET", "/v1/admin/keys"): Operation(
        summary="List API keys, oldest first",
        answer=KeyList,
        query={**_ADMIN_PAGE, "tenant": _TENANT},
    ),
    ("POST", "/v1/admin/keys"): Operation(
        summary="Create an API key", answer=AdminKeyWithSecret, body=CreateKey
    ),
    ("POST", "/v1/admin/keys/{key_id}/revoke"): Operation(
        summary="End an API key for good", answer=AdminKey
    ),
    ("GET", "/v1/admin/audit"): Operation(
        summary="List the audit log, newest first",
        answer=AuditEntryList,
        query={
            **_ADMIN_PAGE,
            "tenant": _TENANT,
            "action": _said(_STRING, "Only this action.", "batch.cancel"),
            "target": _said(_STRING, "Only what was done to this object.", BATCH),
            "since": _instant("Only entries of this second or later"),
            "before": _instant("Only entries that are earlier"),
            "format": _said(
                {"type": "string", "enum": ["json", "jsonl"], "default": "json"},
                "`jsonl`: one entry on each line.",
                "json",
            ),
        },
    ),
}
