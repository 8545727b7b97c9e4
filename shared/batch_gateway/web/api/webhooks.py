"""``/v1/webhook_endpoints`` and ``/v1/webhook_event_types``."""

from typing import TypeVar

from pydantic import BaseModel
from starlette.responses import Response

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.excerpts import excerpt
from batch_gateway.core.ids import BatchId
from batch_gateway.core.webhooks import EVENT_TYPES, DeliveryId, EndpointId
from batch_gateway.services.webhooks.endpoints import EndpointService
from batch_gateway.web import body
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.openai import ListObject
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
from batch_gateway.web.parsing import integer, parse, plain_id

M = TypeVar("M", bound=BaseModel)

PAGE, LONGEST_PAGE = 20, 100


class WebhookRoutes:
    def __init__(
        self, endpoints: EndpointService, *, max_bytes: int, idle_s: float, strict: bool
    ) -> None:
        """``strict``: without the log of deliveries and what else is not in OpenAI's API."""
        self._shown: type[WebhookEndpointObject] = ExtendedWebhookEndpointObject
        self._with_secret: type[WebhookEndpointWithSecret] = ExtendedWebhookEndpointWithSecret
        if strict:
            self._shown, self._with_secret = WebhookEndpointObject, WebhookEndpointWithSecret
        self._endpoints = endpoints
        self._max_bytes = max_bytes
        self._idle_s = idle_s
        self._strict = strict

    @property
    def routes(self) -> HandlersByPath:
        one = "/v1/webhook_endpoints/{endpoint_id}"
        standard: HandlersByPath = {
            "/v1/webhook_endpoints": {"GET": self.list, "POST": self.create},
            one: {"GET": self.get, "POST": self.update, "DELETE": self.delete},
            f"{one}/rotate_secret": {"POST": self.rotate_secret},
            f"{one}/test": {"POST": self.test},
            "/v1/webhook_event_types": {"GET": self.event_types},
        }
        if self._strict:
            return standard
        return {**standard, f"{one}/deliveries": {"GET": self.deliveries}}

    async def create(self, call: ApiRequest) -> Response:
        asked = await self._asked(call, CreateWebhookEndpoint)
        endpoint, secret = await self._endpoints.create(
            call.tenant, asked.name, asked.url, asked.event_types
        )
        return answer(self._with_secret.with_secret(endpoint, secret))

    async def list(self, call: ApiRequest) -> Response:
        limit, after = _cursor(call)
        page = await self._endpoints.list(
            call.tenant, limit=limit, after=None if after is None else EndpointId(after)
        )
        if page is None:
            raise _unknown_cursor(after or "", "webhook endpoint")
        found = [self._shown.of(endpoint) for endpoint in page.items]
        return answer(ListObject.of(found, more=page.more))

    async def get(self, call: ApiRequest) -> Response:
        id_ = _asked_endpoint(call)
        endpoint = await self._endpoints.get(call.tenant, id_)
        if endpoint is None:
            raise _no_such_endpoint(id_)
        return answer(self._shown.of(endpoint))

    async def update(self, call: ApiRequest) -> Response:
        id_ = _asked_endpoint(call)
        changes = (await self._asked(call, UpdateWebhookEndpoint)).changes()
        endpoint = await self._endpoints.update(call.tenant, id_, changes)
        if endpoint is None:
            raise _no_such_endpoint(id_)
        return answer(self._shown.of(endpoint))

    async def delete(self, call: ApiRequest) -> Response:
        id_ = _asked_endpoint(call)
        if not await self._endpoints.delete(call.tenant, id_):
            raise _no_such_endpoint(id_)
        return answer(WebhookEndpointDeleted(id=id_))

    async def rotate_secret(self, call: ApiRequest) -> Response:
        id_ = _asked_endpoint(call)
        asked = await self._asked(call, RotateWebhookSecret)
        rotated = await self._endpoints.rotate(
            call.tenant, id_, keep_old=asked.keep_old_secret_active_for_24_hours
        )
        if rotated is None:
            raise _no_such_endpoint(id_)
        return answer(self._with_secret.with_secret(*rotated))

    async def test(self, call: ApiRequest) -> Response:
        id_ = _asked_endpoint(call)
        asked = await self._asked(call, TestWebhookEndpoint)
        heard = await self._endpoints.test(call.tenant, id_, asked.event_type)
        if heard is None:
            raise _no_such_endpoint(id_)
        if heard.status is None:
            raise InvalidRequest(
                f"The webhook endpoint could not be reached: {heard.error}.",
                code="webhook_endpoint_unreachable",
            )
        return answer(
            WebhookEndpointTested(
                event_type=asked.event_type, status_code=heard.status, webhook_endpoint_id=id_
            )
        )

    async def event_types(self, _call: ApiRequest) -> Response:
        return answer(WebhookEventTypeList(data=list(EVENT_TYPES)))

    async def deliveries(self, call: ApiRequest) -> Response:
        id_ = _asked_endpoint(call)
        if await self._endpoints.get(call.tenant, id_) is None:
            raise _no_such_endpoint(id_)
        batch = _asked_batch(call)
        if batch is not None:
            told = await self._endpoints.deliveries_of_batch(call.tenant, id_, batch)
            found = [WebhookDeliveryObject.of(delivery) for delivery in told]
            return answer(ListObject.of(found, more=False))
        limit, after = _cursor(call)
        page = await self._endpoints.deliveries(
            call.tenant, id_, limit=limit, after=None if after is None else DeliveryId(after)
        )
        if page is None:
            raise _unknown_cursor(after or "", "delivery")
        found = [WebhookDeliveryObject.of(delivery) for delivery in page.items]
        return answer(ListObject.of(found, more=page.more))

    async def _asked(self, call: ApiRequest, kind: type[M]) -> M:
        """The body, which clients leave out when they have nothing to say."""
        raw = await body.read(call.request.receive, self._max_bytes, idle_s=self._idle_s)
        return parse(kind, raw or b"{}")


def _asked_endpoint(call: ApiRequest) -> EndpointId:
    """The id in the path. Raises the 404 of an unknown endpoint when it can be none."""
    given = call.request.path_params["endpoint_id"]
    if not plain_id(given):
        raise _no_such_endpoint(given)
    return EndpointId(given)


def _cursor(call: ApiRequest) -> tuple[int, str | None]:
    """The ``limit`` and ``after`` of a listing. Raises InvalidRequest."""
    query = call.request.query_params
    limit = integer(query, "limit", default=PAGE, minimum=1, maximum=LONGEST_PAGE)
    after = query.get("after")
    if after is not None and not plain_id(after):
        raise _unknown_cursor(after, "object")
    return limit, after


def _asked_batch(call: ApiRequest) -> BatchId | None:
    """The batch that a listing is limited to; None: to none. Raises InvalidRequest."""
    given = call.request.query_params.get("batch_id")
    if given is not None and not plain_id(given):
        raise InvalidRequest("Invalid 'batch_id'.", param="batch_id", code="invalid_value")
    return None if given is None else BatchId(given)


def _no_such_endpoint(given: str) -> ApiError:
    return ApiError(404, f"No webhook endpoint found with id '{excerpt(given)}'.")


def _unknown_cursor(given: str, kind: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid 'after': no {kind} found with id '{excerpt(given)}'.",
        param="after",
        code="invalid_value",
    )
