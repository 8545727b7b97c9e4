"""Descriptions of webhook endpoints and deliveries."""

from batch_gateway.core.lifecycle import ENDED
from batch_gateway.core.webhooks import DeliveryState
from batch_gateway.web.api.descriptions.about import (
    BATCH,
    DELETED,
    ENDED_AT,
    EVENT_TYPES,
    NAME,
    URL,
    WEBHOOK,
    Fields,
    Objects,
    ObjectText,
    about,
    kind,
    moment,
    page,
)

_ENDPOINT: Fields = {
    "id": about("The id of the endpoint.", WEBHOOK),
    "object": kind("webhook_endpoint"),
    "created_at": moment("When the endpoint was created"),
    "updated_at": moment("When the endpoint was last changed"),
    "name": NAME,
    "url": URL,
    "event_types": EVENT_TYPES,
    "signing_secret_hint": about(
        "The end of the signing secret, to tell secrets apart.", "whsec_...x2Q0"
    ),
}
_SECRET: Fields = {
    "signing_secret": about(
        "The secret that events are signed with. It is shown only here.",
        "whsec_dGhlIHNlY3JldCBvZiB0aGlzIGV4YW1wbGUgeDJRMA==",
    )
}
_DISABLED: Fields = {
    "disabled_at": moment(
        "Since when the endpoint gets no events, because its receiver failed for days; null: it "
        "gets them. Any update lets it get them again",
        ENDED_AT,
        None,
    )
}
_EVENT_TYPE = about("The kind of the event.", "batch.completed")

DELIVERY: Fields = {
    "id": about("The id of the delivery.", "whd_3c2b1a09f8e7d6c5b4a3928170605040"),
    "object": kind("webhook_endpoint.delivery"),
    "event_id": about(
        "The id of the event, sent as the header `webhook-id`: the same for all endpoints "
        "and attempts.",
        "evt_7b6a5948372615040f1e2d3c4b5a6978",
    ),
    "event_type": _EVENT_TYPE,
    "batch_id": about("The batch that has ended.", BATCH),
    "status": about(
        "`pending`: it is tried, perhaps again. `delivered`: the receiver answered 2xx. "
        "`failed`: it was given up.",
        "delivered",
        enum=[state.value for state in DeliveryState],
    ),
    "attempts": about("How often it was tried.", 1),
    "created_at": moment("When the batch ended", ENDED_AT),
    "attempted_at": moment("When it was last tried", ENDED_AT + 1),
    "next_attempt_at": moment("When it is tried next; null: not again", ENDED_AT + 11, None),
    "status_code": about("What the receiver answered last; null: nothing.", 200),
    "error": about("Why the last attempt failed.", "timeout", None),
}

OBJECTS: Objects = {
    "CreateWebhookEndpoint": ObjectText(
        "A new webhook endpoint.", {"name": NAME, "url": URL, "event_types": EVENT_TYPES}
    ),
    "ExtendedWebhookEndpointList": ObjectText("A page of webhook endpoints.", page(WEBHOOK)),
    "ExtendedWebhookEndpointObject": ObjectText("A webhook endpoint.", _ENDPOINT | _DISABLED),
    "ExtendedWebhookEndpointWithSecret": ObjectText(
        "A webhook endpoint with its signing secret.", _ENDPOINT | _SECRET | _DISABLED
    ),
    "RotateWebhookSecret": ObjectText(
        "What becomes of the old secret.",
        {
            "keep_old_secret_active_for_24_hours": about(
                "Whether events are signed with the old secret too, for a day.", True
            )
        },
    ),
    "TestWebhookEndpoint": ObjectText("What example is sent.", {"event_type": _EVENT_TYPE}),
    "UpdateWebhookEndpoint": ObjectText(
        "What changes.",
        {
            "name": about("Another name; absent or null: as it is.", "reports"),
            "url": about(
                "Another URL; absent or null: as it is.", "https://reports.example.com/hook"
            ),
            "event_types": about("Other events; absent or null: as they are.", ["batch.completed"]),
        },
    ),
    "WebhookDeliveryList": ObjectText(
        "A page of deliveries.", page("whd_3c2b1a09f8e7d6c5b4a3928170605040")
    ),
    "WebhookDeliveryObject": ObjectText(
        "An event that was sent, or is to be sent, to a webhook endpoint.",
        DELIVERY,
    ),
    "WebhookEndpointDeleted": ObjectText(
        "Says that a webhook endpoint was deleted.",
        {
            "id": about("The id of the endpoint.", WEBHOOK),
            "object": kind("webhook_endpoint.deleted"),
            "deleted": DELETED,
        },
    ),
    "WebhookEndpointList": ObjectText("A page of webhook endpoints.", page(WEBHOOK)),
    "WebhookEndpointObject": ObjectText("A webhook endpoint.", _ENDPOINT),
    "WebhookEndpointTested": ObjectText(
        "Says that a receiver has taken the example.",
        {
            "object": kind("webhook_endpoint.test"),
            "event_type": _EVENT_TYPE,
            "status_code": about("What the receiver answered.", 204),
            "success": about("Always true: what a receiver refuses is an error.", True),
            "webhook_endpoint_id": about("The id of the endpoint.", WEBHOOK),
        },
    ),
    "WebhookEndpointWithSecret": ObjectText(
        "A webhook endpoint with its signing secret.", _ENDPOINT | _SECRET
    ),
    "WebhookEventTypeList": ObjectText(
        "All kinds of events.",
        {
            "object": kind("list"),
            "data": about("The kinds of events.", [f"batch.{status}" for status in sorted(ENDED)]),
        },
    ),
}
