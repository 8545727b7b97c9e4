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
    ApiOperation,
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
STANDARD: dict[tuple[str, str], ApiOperation] = {
    ("GET", "/v1/files"): ApiOperation(
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
    ("POST", "/v1/files"): ApiOperation(
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
    ("GET", "/v1/files/{file_id}"): ApiOperation(
        id="retrieveFile", summary="Describe a file", answer=FileObject
    ),
    ("DELETE", "/v1/files/{file_id}"): ApiOperation(
        id="deleteFile", summary="Delete a file", answer=FileDeleted
    ),
    ("GET", "/v1/files/{file_id}/content"): ApiOperation(
        id="downloadFile", summary="Download a file, or a range of it", sample=LINE
    ),
    ("POST", "/v1/uploads"): ApiOperation(
        id="createUpload",
        summary="Begin a file that comes in parts",
        answer=UploadObject,
        body=CreateUpload,
    ),
    ("POST", "/v1/uploads/{upload_id}/parts"): ApiOperation(
        id="addUploadPart",
        summary="Add a part",
        answer=PartObject,
        form={"data": said(BINARY, "The bytes of the part, up to 64 MiB.", "...")},
        required=("data",),
    ),
    ("POST", "/v1/uploads/{upload_id}/complete"): ApiOperation(
        id="completeUpload",
        summary="Join the parts to a file",
        answer=UploadObject,
        body=CompleteUpload,
    ),
    ("POST", "/v1/uploads/{upload_id}/cancel"): ApiOperation(
        id="cancelUpload", summary="Give up an upload", answer=UploadObject
    ),
    ("GET", "/v1/batches"): ApiOperation(
        id="listBatches", summary="List batches, newest first", answer=BatchList, query=PAGE
    ),
    ("POST", "/v1/batches"): ApiOperation(
        id="createBatch", summary="Create a batch", answer=BatchObject, body=CreateBatch
    ),
    ("GET", "/v1/batches/{batch_id}"): ApiOperation(
        id="retrieveBatch", summary="Describe a batch", answer=BatchObject
    ),
    ("POST", "/v1/batches/{batch_id}/cancel"): ApiOperation(
        id="cancelBatch", summary="Cancel a batch", answer=BatchObject
    ),
    ("GET", "/v1/webhook_endpoints"): ApiOperation(
        id="listWebhookEndpoints",
        summary="List webhook endpoints, newest first",
        answer=WebhookEndpointList,
        query=WEBHOOK_PAGE,
    ),
    ("POST", "/v1/webhook_endpoints"): ApiOperation(
        id="createWebhookEndpoint",
        summary="Be told of batches that end",
        answer=WebhookEndpointWithSecret,
        body=CreateWebhookEndpoint,
    ),
    ("GET", ENDPOINT): ApiOperation(
        id="retrieveWebhookEndpoint",
        summary="Describe a webhook endpoint",
        answer=WebhookEndpointObject,
    ),
    ("POST", ENDPOINT): ApiOperation(
        id="updateWebhookEndpoint",
        summary="Change a webhook endpoint; a disabled one is enabled again",
        answer=WebhookEndpointObject,
        body=UpdateWebhookEndpoint,
    ),
    ("DELETE", ENDPOINT): ApiOperation(
        id="deleteWebhookEndpoint",
        summary="Delete a webhook endpoint",
        answer=WebhookEndpointDeleted,
    ),
    ("POST", f"{ENDPOINT}/rotate_secret"): ApiOperation(
        id="rotateWebhookEndpointSecret",
        summary="Give a webhook endpoint a new secret",
        answer=WebhookEndpointWithSecret,
        body=RotateWebhookSecret,
    ),
    ("POST", f"{ENDPOINT}/test"): ApiOperation(
        id="testWebhookEndpoint",
        summary="Send an example to a webhook endpoint",
        answer=WebhookEndpointTested,
        body=TestWebhookEndpoint,
    ),
    ("GET", "/v1/webhook_event_types"): ApiOperation(
        id="listWebhookEventTypes",
        summary="List the event types of webhook endpoints",
        answer=WebhookEventTypeList,
    ),
    ("GET", "/v1/models"): ApiOperation(id="listModels", summary="List models", answer=ModelList),
    ("GET", "/v1/models/{model:path}"): ApiOperation(
        id="retrieveModel", summary="Describe a model", answer=ModelObject
    ),
}
