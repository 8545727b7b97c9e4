"""The broker's ingress: ``POST /NAMESPACE/BROKER`` accepts CloudEvents.

202 means that the events are on disk. Everything else follows Knative's data plane and the
CloudEvents webhook rules: 400 for what is no event, 404 for an unknown broker, 405 with ``Allow``
for other methods, ``OPTIONS`` for producers that ask for permission first.
"""

import logging
from collections.abc import Mapping

import msgspec
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from batch_gateway.local.broker.events import MalformedEvent, decode
from batch_gateway.local.broker.faults import BrokerFaults
from batch_gateway.local.broker.routing import TriggerRouter

logger = logging.getLogger(__name__)

_ALLOW = {"Allow": "POST, OPTIONS"}
_FAULTS = "faults"  # the key that lets them outlive a killed broker


def application(
    routers: Mapping[str, TriggerRouter], redis: Redis, *, faults: bool
) -> web.Application:
    """``routers`` by path. ``faults``: whether tests may change them under ``/faults``."""
    app = web.Application()
    ingress = _Ingress(routers, redis)
    app.router.add_get("/healthz", ingress.health)
    if faults:
        app.router.add_put("/faults", ingress.change_faults)
        app.on_startup.append(ingress.recall_faults)
    app.router.add_route("*", "/{path:.*}", ingress.event)
    return app


class _Ingress:
    def __init__(self, routers: Mapping[str, TriggerRouter], redis: Redis) -> None:
        self._routers = routers
        self._redis = redis

    async def health(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def event(self, request: web.Request) -> web.Response:
        router = self._routers.get(request.path)
        if router is None:
            return web.Response(status=404, text="no such broker\n")
        if request.method == "OPTIONS":
            return _permission(request)
        if request.method != "POST":
            return web.Response(status=405, headers=_ALLOW)
        try:
            await router.accept(*decode(request.headers, await request.read()))
        except MalformedEvent as error:
            return web.Response(status=400, text=f"{error}\n")
        except RedisError as error:
            logger.warning("cannot store an event: %s", error)
            return web.Response(status=503, text="the event could not be stored\n")
        return web.Response(status=202)

    async def change_faults(self, request: web.Request) -> web.Response:
        raw = await request.read()
        try:
            self._set(msgspec.json.decode(raw, type=BrokerFaults))
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=f"{error}\n")
        try:
            await self._redis.set(_FAULTS, raw)
        except RedisError as error:
            return web.Response(status=503, text=f"not kept: {error}\n")
        return web.Response(status=204)

    async def recall_faults(self, _app: web.Application) -> None:
        if raw := await self._redis.get(_FAULTS):
            self._set(msgspec.json.decode(raw, type=BrokerFaults))

    def _set(self, faults: BrokerFaults) -> None:
        for router in self._routers.values():
            router.faults = faults


def _permission(request: web.Request) -> web.Response:
    origin = request.headers.get("WebHook-Request-Origin", "*")
    rate = request.headers.get("WebHook-Request-Rate", "*")
    headers = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": rate}
    return web.Response(headers=_ALLOW | headers)
