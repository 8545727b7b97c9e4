"""Operators' routes: ``/v1/session`` and ``/v1/admin/...``."""

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
from batch_gateway.web.admin_work_objects import (
    AdminBatch,
    AdminBatchDetail,
    AdminDelivery,
    AdminFunction,
)
from batch_gateway.web.api.descriptions.about import (
    BATCH,
)
from batch_gateway.web.api.operations.filters import FILTERS
from batch_gateway.web.api.operations.operation import (
    AFTER,
    STRING,
    ApiOperation,
    instant,
    limit,
    list_of,
    said,
)
from batch_gateway.web.openai_usage import BatchAnalyticsObject

PoolList = list_of(AdminPool, "PoolList")
AdminDeliveryList = list_of(AdminDelivery, "AdminDeliveryList")
AdminBatchList = list_of(AdminBatch, "AdminBatchList")
FunctionList = list_of(AdminFunction, "FunctionList")
TenantList = list_of(AdminTenant, "TenantList")
DeadLetterList = list_of(AdminDeadLetter, "DeadLetterList")
KeyList = list_of(AdminKey, "KeyList")
AuditEntryList = list_of(AuditEntryObject, "AuditEntryList")

_ADMIN_PAGE = {"after": AFTER, "limit": limit(1, 1000, 100)}
_TENANT = said(STRING, "Only those of this tenant.", "acme")

#: (method, path) -> what operators find there.
ADMIN: dict[tuple[str, str], ApiOperation] = {
    ("GET", "/v1/session"): ApiOperation(
        id="retrieveSession",
        summary="Show the identity of the request and its permissions",
        answer=SessionObject,
    ),
    ("GET", "/v1/admin/batches"): ApiOperation(
        id="listBatchesOfAllTenants",
        summary="List the batches of all tenants: open ones by deadline, or all, newest first",
        answer=AdminBatchList,
        query={
            **_ADMIN_PAGE,
            "order": said(
                {"type": "string", "enum": ["deadline", "created"], "default": "deadline"},
                "`deadline`: batches that have requests to run, the first deadline first. "
                "`created`: all, the newest first; only this order has filters.",
                "created",
            ),
            "tenant": _TENANT,
            **FILTERS,
        },
    ),
    ("GET", "/v1/admin/batches/{batch_id}"): ApiOperation(
        id="retrieveBatchOfAnyTenant",
        summary="Show a batch of any tenant",
        answer=AdminBatchDetail,
    ),
    ("GET", "/v1/admin/batches/{batch_id}/analytics"): ApiOperation(
        id="retrieveAnalyticsOfAnyTenant",
        summary="Show how a batch of any tenant goes, or went",
        answer=BatchAnalyticsObject,
    ),
    ("GET", "/v1/admin/batches/{batch_id}/deliveries"): ApiOperation(
        id="listWebhookDeliveriesOfAnyTenant",
        summary="List what webhook endpoints were told of a batch of any tenant, newest first",
        answer=AdminDeliveryList,
    ),
    ("POST", "/v1/admin/batches/{batch_id}/cancel"): ApiOperation(
        id="cancelBatchOfAnyTenant",
        summary="Cancel a batch of any tenant",
        answer=AdminBatchDetail,
    ),
    ("GET", "/v1/admin/functions"): ApiOperation(
        id="listFunctions", summary="List the functions with their instances", answer=FunctionList
    ),
    ("GET", "/v1/admin/pools"): ApiOperation(
        id="listPools",
        summary="List the limits of endpoints and models",
        answer=PoolList,
        query={
            "history": said(
                {"type": "string", "enum": ["true", "false"], "default": "false"},
                "`true`: also each limit during the last hour.",
                "true",
            )
        },
    ),
    ("GET", "/v1/admin/queue"): ApiOperation(
        id="retrieveQueue", summary="Show what waits", answer=AdminQueue
    ),
    ("GET", "/v1/admin/tenants"): ApiOperation(
        id="listTenants", summary="List what tenants have", answer=TenantList, query=_ADMIN_PAGE
    ),
    ("GET", "/v1/admin/activations"): ApiOperation(
        id="retrieveActivations",
        summary="Count the executor requests that are open",
        answer=AdminActivations,
    ),
    ("GET", "/v1/admin/dead_letters"): ApiOperation(
        id="listDeadLetters",
        summary="List events that no subscriber has taken, newest first",
        answer=DeadLetterList,
        query={"limit": limit(1, 1000, 100)},
    ),
    ("GET", "/v1/admin/dead_letters/{letter_id}"): ApiOperation(
        id="retrieveDeadLetter",
        summary="Show a dead letter with its data",
        answer=AdminDeadLetterDetail,
    ),
    ("DELETE", "/v1/admin/dead_letters/{letter_id}"): ApiOperation(
        id="deleteDeadLetter", summary="Delete a dead letter", answer=DeadLetterDeleted
    ),
    ("POST", "/v1/admin/dead_letters/{letter_id}/replay"): ApiOperation(
        id="replayDeadLetter",
        summary="Send the event of a dead letter again",
        answer=DeadLetterReplayed,
    ),
    ("GET", "/v1/admin/keys"): ApiOperation(
        id="listKeys",
        summary="List API keys, oldest first",
        answer=KeyList,
        query={**_ADMIN_PAGE, "tenant": _TENANT},
    ),
    ("POST", "/v1/admin/keys"): ApiOperation(
        id="createKey", summary="Create an API key", answer=AdminKeyWithSecret, body=CreateKey
    ),
    ("POST", "/v1/admin/keys/{key_id}/revoke"): ApiOperation(
        id="revokeKey", summary="End an API key for good", answer=AdminKey
    ),
    ("GET", "/v1/admin/audit"): ApiOperation(
        id="listAuditEntries",
        summary="List the audit log, newest first",
        answer=AuditEntryList,
        query={
            **_ADMIN_PAGE,
            "tenant": _TENANT,
            "action": said(STRING, "Only this action.", "batch.cancel"),
            "target": said(STRING, "Only what was done to this object.", BATCH),
            "since": instant("Only entries of this second or later"),
            "before": instant("Only entries that are earlier"),
            "format": said(
                {"type": "string", "enum": ["json", "jsonl"], "default": "json"},
                "`jsonl`: one entry on each line.",
                "json",
            ),
        },
    ),
}
