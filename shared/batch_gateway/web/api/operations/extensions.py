"""Routes beyond OpenAI's API, and other answers of its routes."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, create_model

from batch_gateway.web.api.descriptions.about import BATCH
from batch_gateway.web.api.operations.filters import FILTERS
from batch_gateway.web.api.operations.openai import STANDARD, BatchList, WebhookEndpointList
from batch_gateway.web.api.operations.operation import (
    ENDPOINT,
    LINE,
    PAGE,
    STRING,
    WEBHOOK_PAGE,
    ApiOperation,
    Model,
    Schema,
    instant,
    limit,
    list_of,
    said,
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
)
from batch_gateway.web.openai_usage import BatchAnalyticsObject, UsagePage
from batch_gateway.web.openai_webhooks import (
    ExtendedWebhookEndpointObject,
    ExtendedWebhookEndpointWithSecret,
    WebhookDeliveryObject,
    WebhookEndpointObject,
    WebhookEndpointWithSecret,
)

ExtendedBatchList = list_of(ExtendedBatchObject, "ExtendedBatchList")
ExtendedWebhookEndpointList = list_of(ExtendedWebhookEndpointObject, "ExtendedWebhookEndpointList")
WebhookDeliveryList = list_of(WebhookDeliveryObject, "WebhookDeliveryList")

#: Requests inside the body are taken out of it before the rest is parsed (see ``web.inline``).
CreateBatchOrInline = create_model(
    "CreateBatchOrInline",
    __base__=CreateExtendedBatch,
    input_file_id=(str | None, None),
    requests=(Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST)] | None, None),
)


_CURSOR: Schema = said(
    STRING,
    "The header `x-next-cursor` of the page before, or the last `cursor` of a followed answer; "
    "absent: from the beginning.",
    "eJyLNjTQM",
)
_FOLLOW: Schema = said(
    {"type": "string", "enum": ["true", "false"], "default": "false"},
    "`true`: the answer continues until the batch has ended.",
    "true",
)


#: Answer -> the same with extensions.
_EXTENDED_ANSWERS: dict[Model | None, Model] = {
    BatchObject: ExtendedBatchObject,
    BatchList: ExtendedBatchList,
    WebhookEndpointObject: ExtendedWebhookEndpointObject,
    WebhookEndpointWithSecret: ExtendedWebhookEndpointWithSecret,
    WebhookEndpointList: ExtendedWebhookEndpointList,
}

#: OpenAI's routes with the answers that they have here, and routes beyond them.
EXTENSIONS: dict[tuple[str, str], ApiOperation] = {
    **{
        route: replace(operation, answer=_EXTENDED_ANSWERS.get(operation.answer, operation.answer))
        for route, operation in STANDARD.items()
    },
    ("GET", f"{ENDPOINT}/deliveries"): ApiOperation(
        id="listWebhookDeliveries",
        summary="List what a webhook endpoint has been told, newest first",
        answer=WebhookDeliveryList,
        query={**WEBHOOK_PAGE, "batch_id": said(STRING, "Only what it was told of it.", BATCH)},
    ),
    ("GET", "/v1/batches"): ApiOperation(
        id="listBatches",
        summary="List batches, newest first",
        answer=ExtendedBatchList,
        query=PAGE | FILTERS,
    ),
    ("POST", "/v1/batches"): ApiOperation(
        id="createBatch",
        summary="Create a batch",
        answer=ExtendedBatchObject,
        body=CreateBatchOrInline,
    ),
    ("DELETE", "/v1/batches/{batch_id}"): ApiOperation(
        id="deleteBatch", summary="Remove a batch that has ended", answer=BatchDeleted
    ),
    ("POST", "/v1/batches/{batch_id}/pause"): ApiOperation(
        id="pauseBatch", summary="Start no more lines of a batch", answer=ExtendedBatchObject
    ),
    ("POST", "/v1/batches/{batch_id}/resume"): ApiOperation(
        id="resumeBatch", summary="Resume a paused batch", answer=ExtendedBatchObject
    ),
    ("POST", "/v1/batches/{batch_id}/update"): ApiOperation(
        id="updateBatch",
        summary="Change a batch that has not ended",
        answer=ExtendedBatchObject,
        body=UpdateBatch,
    ),
    ("POST", "/v1/batches/{batch_id}/retry"): ApiOperation(
        id="retryBatch",
        summary="Run again what failed in a batch that has ended, as a new batch",
        answer=ExtendedBatchObject,
        body=RetryBatch,
    ),
    ("GET", "/v1/batches/{batch_id}/results"): ApiOperation(
        id="listBatchResults",
        summary="Read the results that there are, and those to come",
        media_type="application/jsonl",
        sample=LINE,
        query={"after": _CURSOR, "limit": limit(0, 10_000, 1000), "follow": _FOLLOW},
    ),
    ("GET", "/v1/batches/{batch_id}/requests"): ApiOperation(
        id="retrieveBatchRequest",
        summary="Tell what has become of one request",
        answer=BatchRequestObject,
        query={"custom_id": said(STRING, "Your name for the request.", "ticket-1")},
        required_query=("custom_id",),
    ),
    ("GET", "/v1/batches/{batch_id}/analytics"): ApiOperation(
        id="retrieveBatchAnalytics",
        summary="Show phases, throughput, latencies, retries, errors and cost of a batch",
        answer=BatchAnalyticsObject,
    ),
    ("GET", "/v1/usage"): ApiOperation(
        id="listUsage",
        summary="Add up requests, tokens and cost of ended batches by day",
        answer=UsagePage,
        query={
            "start_time": instant("The first day that is shown is the one of this instant"),
            "end_time": instant("Only days that begin earlier"),
            "bucket_width": said(
                {"type": "string", "enum": ["1d"], "default": "1d"}, "The length of a bucket.", "1d"
            ),
            "group_by": said(
                STRING,
                "What sums are told apart by: `project_id` (the tenant), `api_key_id`, `model`, or "
                "several of them with commas.",
                "model",
            ),
            "project_ids": said(STRING, "Only these tenants, with commas.", "acme"),
            "api_key_ids": said(
                STRING, "Only these API keys, with commas.", "key_5f2d7c9b1a3e4f60"
            ),
            "models": said(STRING, "Only these models, with commas.", "sim-large"),
            "limit": limit(1, 180, 7),
            "page": said(STRING, "The `next_page` of the page before.", "page_1764547200"),
            "format": said(
                {"type": "string", "enum": ["json", "csv"], "default": "json"},
                "The form of the answer; `Accept: text/csv` asks for CSV too.",
                "json",
            ),
        },
        required_query=("start_time",),
    ),
}
