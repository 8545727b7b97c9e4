"""OpenAI's routes."""

import json

from batch_gateway.services.files.content import PURPOSES
from batch_gateway.web.api.descriptions.about import (
    REQUEST,
)
from batch_gateway.web.api.operations.operation import (
    AFTER,
    BINARY,
    ENDPOINT,
    LINE,
    PAGE,
    STRING,
    WEBHOOK_PAGE,
    Operation,
    Schema,
    limit,
    list_of,
    said,
)
from batch_gateway.web.openai import (
    BatchObject,
    CreateBatch,
    ExpiresAfter,
    FileDeleted,
    FileObject,
)
from batch_gateway.web.openai_models import ModelList, ModelObject
from batch_gateway.web.openai_uploads import CompleteUpload, CreateUpload, PartObject, UploadObject
from batch_gateway.web.openai_webhooks import (
    CreateWebhookEndpoint,
    RotateWebhookSecret,
    TestWebhookEndpoint,
    UpdateWebhookEndpoint,
    WebhookEndpointDeleted,
    WebhookEndpointObject,
    WebhookEndpointTested,
    WebhookEndpointWithSecret,
    WebhookEventTypeList,
)

FileList = list_of(FileObject, "FileList")
BatchList = list_of(BatchObject, "BatchList")
WebhookEndpointList = list_of(WebhookEndpointObject, "WebhookEndpointList")

_PURPOSE: Schema = said(
    {"type": "string", "enum": sorted(PURPOSES)},
    "What the file is for. Batches take input files of the purpose `batch`.",
    "batch",
)

#: (method, path) -> what OpenAI's clients find there.
STANDARD: dict[tuple[str, str], Operation] = {
    ("GET", "/v1/files"): Operation(
        id="listFiles",
        summary="List files",
        answer=FileList,
        query={
            "after": AFTER,
            "limit": limit(1, 10_000, 10_000),
            "order": said(
                {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
                "By the time of creation: `desc` begins with the newest.",
                "asc",
            ),
            "purpose": said(STRING, "Only files of this purpose.", "batch"),
        },
    ),
    ("POST", "/v1/files"): Operation(
        id="createFile",
        summary="Upload a file",
        answer=FileObject,
        form={
            "purpose": _PURPOSE,
            "expires_after": ExpiresAfter,
            "file": said(
                BINARY, "The bytes of the file, with a filename.", json.dumps(REQUEST) + "\n"
            ),
        },
        required=("purpose", "file"),
    ),
    ("GET", "/v1/files/{file_id}"): Operation(
        id="retrieveFile", summary="Describe a file", answer=FileObject
    ),
    ("DELETE", "/v1/files/{file_id}"): Operation(
        id="deleteFile", summary="Delete a file", answer=FileDeleted
    ),
    ("GET", "/v1/files/{file_id}/content"): Operation(
        id="downloadFile", summary="Download a file, or a range of it", sample=LINE
    ),
    ("POST", "/v1/uploads"): Operation(
        id="createUpload",
        summary="Begin a file that comes in parts",
        answer=UploadObject,
        body=CreateUpload,
    ),
    ("POST", "/v1/uploads/{upload_id}/parts"): Operation(
        id="addUploadPart",
        summary="Add a part",
        answer=PartObject,
        form={"data": said(BINARY, "The bytes of the part, up to 64 MiB.", "...")},
        required=("data",),
    ),
    ("POST", "/v1/uploads/{upload_id}/complete"): Operation(
        id="completeUpload",
        summary="Join the parts to a file",
        answer=UploadObject,
        body=CompleteUpload,
    ),
    ("POST", "/v1/uploads/{upload_id}/cancel"): Operation(
        id="cancelUpload", summary="Give up an upload", answer=UploadObject
    ),
    ("GET", "/v1/batches"): Operation(
        id="listBatches", summary="List batches, newest first", answer=BatchList, query=PAGE
    ),
    ("POST", "/v1/batches"): Operation(
        id="createBatch", summary="Create a batch", answer=BatchObject, body=CreateBatch
    ),
    ("GET", "/v1/batches/{batch_id}"): Operation(
        id="retrieveBatch", summary="Describe a batch", answer=BatchObject
    ),
    ("POST", "/v1/batches/{batch_id}/cancel"): Operation(
        id="cancelBatch", summary="Cancel a batch", answer=BatchObject
    ),
    ("GET", "/v1/webhook_endpoints"): Operation(
        id="listWebhookEndpoints",
        summary="List webhook endpoints, newest first",
        answer=WebhookEndpointList,
        query=WEBHOOK_PAGE,
    ),
    ("POST", "/v1/webhook_endpoints"): Operation(
        id="createWebhookEndpoint",
        summary="Be told of batches that end",
        answer=WebhookEndpointWithSecret,
        body=CreateWebhookEndpoint,
    ),
    ("GET", ENDPOINT): Operation(
        id="retrieveWebhookEndpoint",
        summary="Describe a webhook endpoint",
        answer=WebhookEndpointObject,
    ),
    ("POST", ENDPOINT): Operation(
        id="updateWebhookEndpoint",
        summary="Change a webhook endpoint; a disabled one is enabled again",
        answer=WebhookEndpointObject,
        body=UpdateWebhookEndpoint,
    ),
    ("DELETE", ENDPOINT): Operation(
        id="deleteWebhookEndpoint",
        summary="Delete a webhook endpoint",
        answer=WebhookEndpointDeleted,
    ),
    ("POST", f"{ENDPOINT}/rotate_secret"): Operation(
        id="rotateWebhookEndpointSecret",
        summary="Give a webhook endpoint a new secret",
        answer=WebhookEndpointWithSecret,
        body=RotateWebhookSecret,
    ),
    ("POST", f"{ENDPOINT}/test"): Operation(
        id="testWebhookEndpoint",
        summary="Send an example to a webhook endpoint",
        answer=WebhookEndpointTested,
        body=TestWebhookEndpoint,
    ),
    ("GET", "/v1/webhook_event_types"): Operation(
        id="listWebhookEventTypes",
        summary="List the event types of webhook endpoints",
        answer=WebhookEventTypeList,
    ),
    ("GET", "/v1/models"): Operation(id="listModels", summary="List models", answer=ModelList),
    ("GET", "/v1/models/{model:path}"): Operation(
        id="retrieveModel", summary="Describe a model", answer=ModelObject
    ),
}
