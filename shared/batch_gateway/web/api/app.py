"""The API as one ASGI application."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from starlette.routing import Route, Router
from starlette.types import ASGIApp

from batch_gateway.ports.clock import Clock
from batch_gateway.ports.metadata import IdempotencyClaimRows
from batch_gateway.ports.secrets import SecretSealer
from batch_gateway.services.audit import AuditLog
from batch_gateway.services.batches.actions import BatchActions
from batch_gateway.services.batches.analytics import AnalyticsService
from batch_gateway.services.batches.inline import InlineBatches
from batch_gateway.services.batches.retry import BatchRetries
from batch_gateway.services.batches.service import BatchService
from batch_gateway.services.files.service import FileService
from batch_gateway.services.files.uploads import UploadService
from batch_gateway.services.models import ModelService
from batch_gateway.services.results.lookup import RequestLookup
from batch_gateway.services.results.stream import ResultService
from batch_gateway.services.usage import UsageService
from batch_gateway.services.webhooks.endpoints import EndpointService
from batch_gateway.settings import ApiSettings
from batch_gateway.web import body
from batch_gateway.web.api.analytics import AnalyticsRoutes
from batch_gateway.web.api.auditing import RefusedOperations, audited
from batch_gateway.web.api.batch_actions import BatchActionRoutes
from batch_gateway.web.api.batches import BatchRoutes
from batch_gateway.web.api.docs import docs
from batch_gateway.web.api.files import FileRoutes
from batch_gateway.web.api.idempotency import IdempotencyGuard
from batch_gateway.web.api.models import ModelListRoutes
from batch_gateway.web.api.rates import RateLimits
from batch_gateway.web.api.request_scope import with_request_scope
from batch_gateway.web.api.results import ResultRoutes
from batch_gateway.web.api.retry import RetryRoutes
from batch_gateway.web.api.routing import Handler, HttpResource, RouteGroup, unknown_url
from batch_gateway.web.api.uploads import UploadRoutes
from batch_gateway.web.api.webhooks import WebhookRoutes
from batch_gateway.web.auth import Authenticator
from batch_gateway.web.probes import Ready, with_probes


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """The use cases that routes call."""

    files: FileService
    uploads: UploadService
    batches: BatchService
    actions: BatchActions
    retries: BatchRetries
    results: ResultService
    lookup: RequestLookup
    models: ModelService
    endpoints: EndpointService
    analytics: AnalyticsService
    usage: UsageService


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiGuards:
    """What a request passes on its way to a use case and back."""

    auth: Authenticator
    limits: RateLimits
    claims: IdempotencyClaimRows
    sealer: SecretSealer
    audit: AuditLog


def api_app(
    services: ApiServices,
    guards: ApiGuards,
    *,
    admin: Sequence[RouteGroup],
    clock: Clock,
    settings: ApiSettings,
    ready: Ready,
    pages: Sequence[HttpResource] = (),
    passed: Collection[str] = (),
    idle_s: float = body.IDLE_S,
) -> ASGIApp:
    """All routes, with probes. ``admin``: operators' routes; ``pages``: resources beside the API's,
    such as the console's; ``passed``: headers that a batch's calls carry on; ``idle_s``: how long a
    client may stop in the midst of a body."""
    strict = settings.mode == "strict"
    table = _openai_routes(services, settings, passed=passed, idle_s=idle_s)
    if not strict:
        extensions = _extension_routes(services, settings, clock, passed=passed, idle_s=idle_s)
        for routes in (extensions, *(group.routes for group in admin)):
            for path, methods in routes.items():
                table[path] = {**table.get(path, {}), **methods}
    idempotent = IdempotencyGuard(
        guards.claims, guards.sealer, clock, max_bytes=settings.max_json_bytes, idle_s=idle_s
    )
    refused = RefusedOperations(guards.audit)
    resources = [
        HttpResource(path, _guarded(path, methods, idempotent, guards), guards.auth, refused)
        for path, methods in table.items()
    ]
    described = docs(table, strict=strict, console=settings.console)
    router = Router(
        [Route(page.path, page) for page in (*resources, *described, *pages)],
        redirect_slashes=False,
        default=unknown_url,
    )
    return with_probes(with_request_scope(router), ready)


def _openai_routes(
    services: ApiServices, settings: ApiSettings, *, passed: Collection[str], idle_s: float
) -> dict[str, Mapping[str, Handler]]:
    strict, longest = settings.mode == "strict", settings.max_json_bytes
    batches = BatchRoutes(
        services.batches,
        InlineBatches(services.batches, services.files),
        max_bytes=longest,
        idle_s=idle_s,
        strict=strict,
        passed=passed,
        priced=bool(services.usage.prices.prices),
    )
    webhooks = WebhookRoutes(services.endpoints, max_bytes=longest, idle_s=idle_s, strict=strict)
    return {
        **FileRoutes(services.files, idle_s=idle_s, strict=strict).routes,
        **UploadRoutes(services.uploads, max_bytes=longest, idle_s=idle_s).routes,
        **batches.routes,
        **ModelListRoutes(services.models).routes,
        **webhooks.routes,
    }


def _extension_routes(
    services: ApiServices,
    settings: ApiSettings,
    clock: Clock,
    *,
    passed: Collection[str],
    idle_s: float,
) -> dict[str, Mapping[str, Handler]]:
    longest = settings.max_json_bytes
    actions = BatchActionRoutes(
        services.actions, services.batches, max_bytes=longest, idle_s=idle_s
    )
    retries = RetryRoutes(services.retries, max_bytes=longest, idle_s=idle_s, passed=passed)
    return {
        **actions.routes,
        **ResultRoutes(services.results, services.lookup).routes,
        **AnalyticsRoutes(services.analytics, services.usage, clock).routes,
        **retries.routes,
    }


def _guarded(
    path: str,
    methods: Mapping[str, Handler],
    idempotent: IdempotencyGuard,
    guards: ApiGuards,
) -> Mapping[str, Handler]:
    """POSTs are done once per key, and count only when they are done. What is done is recorded."""

    def guarded(method: str, handler: Handler) -> Handler:
        if method == "POST":
            limited = guards.limits(path, handler)
            return idempotent(audited(method, path, limited, guards.audit))
        return audited(method, path, handler, guards.audit)

    return {method: guarded(method, handler) for method, handler in methods.items()}
