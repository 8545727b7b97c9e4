"""OpenAI's objects of webhook endpoints, and our own log of deliveries."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from batch_gateway.core.webhooks import EVENT_TYPES, WebhookDelivery, WebhookEndpoint
from batch_gateway.services.webhooks.endpoints import EndpointUpdate
from batch_gateway.web.openai import RequestModel, Text, whole_seconds


def _known(event_type: str) -> str:
    if event_type not in EVENT_TYPES:
        raise PydanticCustomError(
            "literal_error", "unknown", {"expected": ", ".join(f"'{t}'" for t in EVENT_TYPES)}
        )
    return event_type


def _each_once(event_types: list[str]) -> list[str]:
    return list(dict.fromkeys(event_types))


EventTypeName = Annotated[
    str, AfterValidator(_known), Field(json_schema_extra={"enum": list(EVENT_TYPES)})
]
EventTypes = Annotated[
    list[EventTypeName], Field(min_length=1, max_length=100), AfterValidator(_each_once)
]
Name = Annotated[Text, Field(min_length=1, max_length=256)]
Url = Annotated[Text, Field(min_length=1, max_length=4096)]


class CreateWebhookEndpoint(RequestModel):
    name: Name
    url: Url
    event_types: EventTypes


class UpdateWebhookEndpoint(RequestModel):
    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None

    def changes(self) -> EndpointUpdate:
        return EndpointUpdate(name=self.name, url=self.url, event_types=self.event_types)


class RotateWebhookSecret(RequestModel):
    keep_old_secret_active_for_24_hours: bool = False


class TestWebhookEndpoint(RequestModel):
    event_type: EventTypeName


class WebhookEndpointObject(BaseModel):
    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    updated_at: int
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str | None

    @classmethod
    def of(cls, endpoint: WebhookEndpoint) -> Self:
        return cls(**_fields(endpoint))


class WebhookEndpointWithSecret(WebhookEndpointObject):
    signing_secret: str

    @classmethod
    def with_secret(cls, endpoint: WebhookEndpoint, secret: str) -> Self:
        return cls(**_fields(endpoint), signing_secret=secret)


class ExtendedWebhookEndpointObject(WebhookEndpointObject):
    disabled_at: int | None  # since when it gets no events; an update enables it


class ExtendedWebhookEndpointWithSecret(WebhookEndpointWithSecret):
    disabled_at: int | None


class WebhookEndpointDeleted(BaseModel):
    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class WebhookEndpointTested(BaseModel):
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    event_type: str
    status_code: int
    success: Literal[True] = True
    webhook_endpoint_id: str


class WebhookEventTypeList(BaseModel):
    object: Literal["list"] = "list"
    data: list[str]


class WebhookDeliveryObject(BaseModel):
    id: str
    object: Literal["webhook_endpoint.delivery"] = "webhook_endpoint.delivery"
    event_id: str  # webhook-id of the request
    event_type: str
    batch_id: str
    status: str
    attempts: int
    created_at: int
    attempted_at: int | None
    next_attempt_at: int | None
    status_code: int | None
    error: str | None

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> Self:
        return cls(
            id=delivery.id,
            event_id=delivery.event_id,
            event_type=delivery.event_type,
            batch_id=delivery.batch,
            status=delivery.state.value,
            attempts=delivery.attempts,
            created_at=int(delivery.created_at.timestamp()),
            attempted_at=whole_seconds(delivery.attempted_at),
            next_attempt_at=whole_seconds(delivery.due_at),
            status_code=delivery.status_code,
            error=delivery.error,
        )


def _fields(endpoint: WebhookEndpoint) -> dict[str, object]:
    return {
        "id": endpoint.id,
        "created_at": int(endpoint.created_at.timestamp()),
        "updated_at": int(endpoint.updated_at.timestamp()),
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": list(endpoint.event_types),
        "signing_secret_hint": endpoint.hint,
        "disabled_at": whole_seconds(endpoint.disabled_at),
    }
