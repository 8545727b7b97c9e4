"""Descriptions of the operators' API."""

from batch_gateway.web.api.descriptions.about import (
    BATCH,
    DEADLINE,
    DELETED,
    ENDED_AT,
    KEY,
    LETTER,
    WEBHOOK,
    Fields,
    Objects,
    ObjectText,
    about,
    kind,
    moment,
    page,
)
from batch_gateway.web.api.descriptions.batches import EXTENDED_BATCH
from batch_gateway.web.api.descriptions.webhooks import DELIVERY

_POOL = "default/sim-large"
_SCOPES = about(
    "What the key allows: `read`, `submit` (create, change and delete), `operate` (this API).",
    ["read", "submit"],
)
_TENANT = about("The tenant.", "acme")
_URGENT = about(
    "Whether its ready shards are in the queue's urgent lane; null: it has none, or the scratch "
    "server does not answer.",
    True,
)
_ENTRY = "audit_00001764500420000000a1b2c3d4"

_LETTER: Fields = {
    "id": about("The id of the dead letter.", LETTER),
    "object": kind("admin.dead_letter"),
    "event_id": about("The id of the event.", f"{BATCH}/batch.completed"),
    "event_type": about("The type of the event.", "dev.batchgateway.batch.completed.v1"),
    "source": about("The sender of the event.", "/batch-gateway"),
    "subject": about("What the event is about.", BATCH, None),
    "target": about("The subscriber that did not take it.", "http://notifier.local/"),
    "code": about("Its last answer.", "503"),
    "reason": about("What the answer says.", "the database does not answer"),
    "died_at": moment("When the broker gave it up", ENDED_AT),
}
_KEY: Fields = {
    "id": about("The id of the key.", KEY),
    "object": kind("admin.key"),
    "tenant": about("The tenant whose files and batches the key opens.", "acme"),
    "name": about("The owner or the purpose of the key.", "laptop"),
    "scopes": _SCOPES,
    "created_at": moment("When it was created"),
    "expires_at": moment("When it expires; null: never", DEADLINE, None),
    "revoked_at": moment("When it was revoked; null: it was not", ENDED_AT, None),
    "last_used_at": moment("When it was used last, within a minute; null: never", ENDED_AT),
}

OBJECTS: Objects = {
    "AdminActivations": ObjectText(
        "Executor requests that are open.",
        {
            "object": kind("admin.activations"),
            "running": about("How many run.", 2),
            "pending": about("How many were asked for and have not begun.", 0),
            "maximum": about("How many there may be.", 8),
        },
    ),
    "AdminBatch": ObjectText(
        "A batch of any tenant.",
        {
            "id": about("The id of the batch.", BATCH),
            "object": kind("admin.batch"),
            "tenant": _TENANT,
            "status": about("The state of the batch.", "in_progress"),
            "model": about("The model; null: several, or not known yet.", "sim-large", None),
            "priority": about("Among the tenant's batches: 0 first, 9 last.", 5),
            "paused": about("Whether its owner has paused it.", False),
            "urgent": _URGENT,
            "blocked_reason": about(
                "Why nothing of it is being worked on; null: it progresses.", "no_slots", None
            ),
            "request_counts": about("Its requests by outcome."),
            "created_at": moment("When it was created"),
            "expires_at": moment("Its deadline", DEADLINE),
            "estimated_completion_at": moment(
                "When it will be done, as far as it is known", ENDED_AT
            ),
            "ended_at": moment("When it ended; null: it has not", ENDED_AT, None),
        },
    ),
    "AdminBatchDetail": ObjectText(
        "A batch of any tenant, with all that its tenant sees of it.",
        {**EXTENDED_BATCH, "tenant": _TENANT, "urgent": _URGENT},
    ),
    "AdminBatchList": ObjectText("A page of batches.", page(BATCH)),
    "AdminDelivery": ObjectText(
        "An event of a batch that was sent, or is to be sent, to a webhook endpoint of its tenant.",
        {
            **DELIVERY,
            "endpoint_id": about("The id of the webhook endpoint.", WEBHOOK),
            "endpoint_name": about("Its name.", "reports"),
        },
    ),
    "AdminDeliveryList": ObjectText(
        "The deliveries of a batch.", page("whd_3c2b1a09f8e7d6c5b4a3928170605040")
    ),
    "AdminDeadLetter": ObjectText("An event that no subscriber has taken.", _LETTER),
    "AdminDeadLetterDetail": ObjectText(
        "An event that no subscriber has taken, with its content.",
        _LETTER
        | {
            "attributes": about("Its attributes.", {"type": "dev.batchgateway.batch.created.v1"}),
            "data": about("Its data, as text.", "{}"),
        },
    ),
    "AdminFunction": ObjectText(
        "A function and how many instances of it run.",
        {
            "id": about("The name of the function.", "executor"),
            "object": kind("admin.function"),
            "instances": about("Those that run now; empty: it is at zero."),
            "history": about(
                "How many ran one hour ago, and each change since then, the oldest first."
            ),
        },
    ),
    "AdminKey": ObjectText("An API key.", _KEY),
    "AdminKeyWithSecret": ObjectText(
        "An API key with its secret.",
        _KEY | {"secret": about("The key itself. It is shown only here.", "sk-bg-...")},
    ),
    "AdminPool": ObjectText(
        "What one endpoint takes for one model.",
        {
            "id": about("Endpoint and model.", _POOL),
            "object": kind("admin.pool"),
            "endpoint": about("The endpoint, as the routing names it.", "default"),
            "limit": about("How many calls may be in flight now.", 24.5),
            "granted": about("How many of them are granted to executors.", 24),
            "in_use": about("Calls in flight.", 22),
            "wanted": about("Calls in flight, and calls that could start.", 60),
            "executors": about("How many executors share the limit.", 2),
            "aborted": about("Calls that were ended because interactive users waited.", 0),
            "last_brake": about("What lowered the limit last; null: nothing yet."),
            "signal": about("What is known of the engine now; null: it is not watched."),
            "breaker": about(
                "The circuit breaker of the endpoint. `open`: it does not answer. `unauthorized`: "
                "it refuses the service's credentials. null: no executor calls it now.",
                "closed",
            ),
            "ceiling": about(
                "How many calls the settings and the calendar allow at once now; 0: none at this "
                "hour; null: the routing no longer names the endpoint.",
                64,
            ),
            "ceiling_changes_at": moment(
                "When the calendar changes it; null: not within a year", DEADLINE, None
            ),
            "history": about(
                "Its last hour, the oldest first, every ten seconds while executors call it; null: "
                "it was not asked for."
            ),
        },
    ),
    "PoolSampleObject": ObjectText(
        "A limit at one moment.",
        {
            "at": moment("When it was seen"),
            "limit": about("How many calls might be in flight.", 24.5),
            "in_use": about("Calls in flight.", 22),
        },
    ),
    "AdminQueue": ObjectText(
        "What waits in the whole service.",
        {
            "object": kind("admin.queue"),
            "shards": about("Shards in the queue; null: the coordination store does not answer."),
            "batches": about(
                "Batches by state; null: the database does not answer.", {"in_progress": 3}
            ),
            "first_deadline": moment("The first deadline; null: there is none", DEADLINE, None),
            "backlog": about("Requests that have no answer yet, by model."),
            "open_batches": about("Batches that have not ended, by tenant."),
            "full_stores": about("Stores that take no more.", []),
            "last_dead_letter_at": moment(
                "When an event was given up last; null: none is kept", ENDED_AT, None
            ),
        },
    ),
    "AdminTenant": ObjectText(
        "What a tenant has.",
        {
            "id": _TENANT,
            "object": kind("admin.tenant"),
            "files": about("Files.", 12),
            "stored_bytes": about("Their bytes.", 480_000),
            "open_batches": about("Batches that have not ended.", 1),
            "queued_requests": about("Requests of these batches.", 60),
            "weight": about("The share in the queue, compared with others.", 1.0),
        },
    ),
    "AuditEntryList": ObjectText("A page of the audit log.", page(_ENTRY)),
    "AuditEntryObject": ObjectText(
        "One entry of the audit log.",
        {
            "id": about("The id of the entry; ids are ordered by time.", _ENTRY),
            "object": kind("audit.entry"),
            "at": about("When it was done, in UTC.", "2025-11-30T11:00:20.000Z"),
            "action": about("What was done.", "batch.cancel"),
            "outcome": about("`refused`: 4xx. `failed`: 5xx.", "ok"),
            "tenant": about("Whose tenant did it.", "acme"),
            "api_key_id": about("By which key; null: by other means.", KEY, None),
            "operator": about("Whether the rights of an operator were used.", False),
            "address": about("The address of the client; null: at the database.", "192.0.2.7"),
            "forwarded_for": about(
                "The header `X-Forwarded-For`. A client may have written it.", "192.0.2.7", None
            ),
            "target": about("The id of what was changed.", BATCH),
            "status_code": about("The status of the answer; null: at the database.", 200),
        },
    ),
    "CreateKey": ObjectText(
        "A new API key.",
        {
            "tenant": about("The tenant whose files and batches the key opens.", "acme"),
            "name": about("The owner or the purpose of the key.", "laptop"),
            "scopes": _SCOPES,
            "expires_in_s": about("When it expires, in seconds; null: never.", 7_776_000),
        },
    ),
    "DeadLetterDeleted": ObjectText(
        "Says that a dead letter was deleted.",
        {
            "id": about("The id of the dead letter.", LETTER),
            "object": kind("admin.dead_letter"),
            "deleted": DELETED,
        },
    ),
    "DeadLetterList": ObjectText("A page of dead letters.", page(LETTER)),
    "DeadLetterReplayed": ObjectText(
        "Says that the broker has the event again.",
        {
            "id": about("The id that the dead letter had.", LETTER),
            "object": kind("admin.dead_letter"),
            "replayed": about("Always true.", True),
        },
    ),
    "EngineSignal": ObjectText(
        "What is known of an engine now.",
        {
            "brake": about("How it is watched.", "engine"),
            "reason": about("What it says, for people.", "no requests wait"),
            "users_wait": about("Whether interactive users wait.", False),
            "ttft_ms": about("How long a probe waited; null: none was sent.", 41.0, None),
            "running": about("Requests in the engine; null: not known.", 22.0),
            "waiting": about("Requests in its queue; null: not known.", 0.0),
            "cache": about("The share of its cache in use; null: not known.", 0.35),
        },
    ),
    "FunctionList": ObjectText("All functions.", page("planner")),
    "InstanceCount": ObjectText(
        "How many instances ran from a moment on.",
        {"at": moment("From when on"), "instances": about("How many.", 0)},
    ),
    "KeyList": ObjectText("A page of API keys.", page(KEY)),
    "LastBrake": ObjectText(
        "What lowered a limit.",
        {
            "brake": about("The kind of brake.", "dropped"),
            "reason": about("What it saw, for people.", "3 calls were refused"),
            "at": moment("When it did", ENDED_AT),
        },
    ),
    "ModelBacklog": ObjectText(
        "Requests that have no answer yet.",
        {"model": about("The model.", "sim-large"), "requests": about("How many.", 1_200)},
    ),
    "PoolList": ObjectText("All pools.", page(_POOL)),
    "QueueShards": ObjectText(
        "Shards in the queue.",
        {
            "ready": about("Shards that wait.", 4),
            "leased": about("Shards that an executor has.", 2),
            "reserved": about("Shards on their way to an executor.", 0),
        },
    ),
    "RunningInstance": ObjectText(
        "A process of a function.",
        {
            "id": about("A name of this process.", "5f2d7c9b1a3e4f60"),
            "started_at": moment("When it started"),
        },
    ),
    "SessionObject": ObjectText(
        "The identity of the request.",
        {
            "object": kind("session"),
            "tenant": _TENANT,
            "api_key_id": about("The id of the key; null: not by an API key.", KEY, None),
            "scopes": _SCOPES,
            "operator": about("Whether the operators' API is open.", False),
            "auth": about("How users are authenticated.", "api-key"),
            "currency": about("The currency of costs.", "USD"),
        },
    ),
    "TenantBatches": ObjectText(
        "Batches of a tenant that have not ended.",
        {"tenant": _TENANT, "count": about("How many.", 1)},
    ),
    "TenantList": ObjectText("A page of tenants.", page("acme")),
}
