"""Routes requests: one resource per path, one handler per method."""

import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from batch_gateway import log
from batch_gateway.core.excerpts import excerpt
from batch_gateway.core.ids import TenantId
from batch_gateway.web.auth import Authenticator
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.identity import Identity, scopes_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request and for whom it is made."""

    request: Request
    identity: Identity
    traceparent: str  # of the request, or one begun for it
    #: Random; the same again when a request with an Idempotency-Key is done again.
    seed: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    @property
    def tenant(self) -> TenantId:
        return self.identity.tenant

    def headers(self, names: Collection[str]) -> dict[str, str]:
        """Those of the request's headers that are among ``names`` (in lower case)."""
        given = self.request.headers
        return {name: given[name] for name in names if given.get(name)}


Handler = Callable[[ApiRequest], Awaitable[Response]]

#: Called for requests that lack a scope: the call, the path's template, the method's status.
Refused = Callable[[ApiRequest, str, int], Awaitable[None]]

#: path -> method -> handler
HandlersByPath = Mapping[str, Mapping[str, Handler]]


class RouteGroup(Protocol):
    """Routes of one subject; their handlers share what they need."""

    @property
    def routes(self) -> HandlersByPath: ...


class HttpResource:
    """All methods of one path, as an ASGI application behind the authenticator."""

    def __init__(
        self,
        path: str,
        methods: Mapping[str, Handler],
        auth: Authenticator,
        refused: Refused | None = None,
    ) -> None:
        """``refused`` is called for each request that lacks a scope."""
        self.path = path
        self._methods = dict(methods)
        if "GET" in methods:
            self._methods.setdefault("HEAD", methods["GET"])
        self._auth = auth
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith("\n"):  # the router's patterns end with $, which lets it pass
            await unknown_url(scope, receive, send)
        request = Request(scope, receive, send)
        if request.method == "OPTIONS":  # lists the methods; shows no user's data
            await Response(None, 204, {"Allow": self._allowed})(scope, receive, send)
            return
        handler = self._methods.get(request.method)
        if handler is None:
            raise self._not_allowed(request)
        identity = await self._auth.identify(request.headers)
        call = ApiRequest(request=request, identity=identity, traceparent=scope["traceparent"])
        try:
            identity.demand(scopes_of(request.method, self.path))
        except ApiError as error:
            if self._refused is not None:
                await self._refused(call, self.path, error.status)
            raise
        with log.bound(tenant_id=identity.tenant):
            response = await handler(call)
            await response(scope, receive, send)

    @property
    def _allowed(self) -> str:
        return ", ".join(sorted(self._methods))

    def _not_allowed(self, request: Request) -> ApiError:
        return ApiError(
            405,
            f"Not allowed to {request.method} on {excerpt(request.url.path)} (HINT: Perhaps you "
            "meant to use a different HTTP method?)",
            code="method_not_supported",
            headers={"Allow": self._allowed},
        )


async def unknown_url(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise no_such_url(scope)


def no_such_url(scope: Scope) -> ApiError:
    return ApiError(404, f"Invalid URL ({scope['method']} {excerpt(scope['path'])})")


def answer(body: BaseModel | dict[str, Any]) -> Response:
    """200 with ``body``, an object or its plain values, as JSON."""
    content = msgspec.json.encode(body) if isinstance(body, dict) else body.model_dump_json()
    return Response(content, media_type="application/json")
