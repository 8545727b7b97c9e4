"""Builds the API."""

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from batch_gateway.web.body import IDLE_S
from batch_gateway.web.envelope import as_api_error
from batch_gateway.wiring.batches import (
    file_dependencies,
    make_batches,
    make_completion_estimates,
    make_files,
)
from batch_gateway.wiring.function import Function, hosted_function
from batch_gateway.wiring.runtime import FunctionRuntime
from batch_gateway.wiring.sink import BrokerSink
from batch_gateway.wiring.stores import LazyWebhookClient, open_sealer

if TYPE_CHECKING:
    from batch_gateway.services.batches.actions import BatchActions
    from batch_gateway.services.batches.completion_estimates import CompletionEstimates
    from batch_gateway.services.files.uploads import UploadService
    from batch_gateway.services.models import ModelService
    from batch_gateway.services.results.stream import ResultService
    from batch_gateway.services.webhooks.endpoints import EndpointService
    from batch_gateway.web.api import ApiGuards, ApiServices
    from batch_gateway.web.api.routing import RouteGroup
    from batch_gateway.web.probes import Ready


def make_api(
    runtime: FunctionRuntime, stack: AsyncExitStack, *, ready: "Ready", idle_s: float = IDLE_S
) -> ASGIApp:
    """The application; what it opens is closed with ``stack``. ``idle_s``: see ``web.api``."""
    from batch_gateway.web.api import api_app
    from batch_gateway.web.console import console

    settings = runtime.settings
    estimates = None if settings.api.mode == "strict" else make_completion_estimates(runtime)
    services = _services(runtime, stack, estimates)
    return api_app(
        services,
        _guards(runtime),
        admin=_admin(
            runtime,
            stack,
            services,
            estimates or make_completion_estimates(runtime),
            currency=settings.prices.price_list.currency,
            idle_s=idle_s,
        ),
        clock=runtime.clock,
        settings=settings.api,
        ready=ready,
        pages=console(settings.api, settings.auth),
        passed=settings.inference.pass_headers,
        idle_s=idle_s,
    )


def api_function() -> Function:
    return hosted_function(
        "api",
        lambda runtime, stack: make_api(runtime, stack, ready=runtime.ready),
        refusal=lambda error: as_api_error(error).response(),
    )


def _services(
    runtime: FunctionRuntime, stack: AsyncExitStack, estimates: "CompletionEstimates | None"
) -> "ApiServices":
    """The use cases; ``estimates`` None: batches have no estimate of their completion."""
    from batch_gateway.services.batches.analytics import AnalyticsService
    from batch_gateway.services.batches.retry import BatchRetries
    from batch_gateway.services.results.lookup import RequestLookup
    from batch_gateway.services.usage import UsageService
    from batch_gateway.web.api import ApiServices

    prices = runtime.settings.prices.price_list
    batches = make_batches(runtime, estimates)
    return ApiServices(
        files=make_files(runtime),
        uploads=_uploads(runtime),
        batches=batches,
        actions=_actions(runtime),
        retries=BatchRetries(batches, runtime.metadata, runtime.clock),
        results=_results(runtime),
        lookup=RequestLookup(runtime.metadata, runtime.files),
        models=_models(runtime, stack),
        endpoints=_endpoints(runtime, stack),
        analytics=AnalyticsService(runtime.metadata, prices),
        usage=UsageService(runtime.metadata.usage, prices),
    )


def _guards(runtime: FunctionRuntime) -> "ApiGuards":
    from batch_gateway.services.audit import AuditLog
    from batch_gateway.services.rate_limiter import FallbackRateLimiter
    from batch_gateway.web.api import ApiGuards
    from batch_gateway.web.api.rates import RateLimits
    from batch_gateway.web.auth import authenticator

    settings = runtime.settings
    return ApiGuards(
        auth=authenticator(settings.auth, runtime.metadata.api_keys, runtime.clock),
        limits=RateLimits(FallbackRateLimiter(runtime.coordination.rate_limiter), settings.quota),
        claims=runtime.metadata.claims,
        sealer=open_sealer(settings),
        audit=AuditLog(runtime.metadata.audit, runtime.clock),
    )


def _admin(
    runtime: FunctionRuntime,
    stack: AsyncExitStack,
    services: "ApiServices",
    estimates: "CompletionEstimates",
    *,
    currency: str,
    idle_s: float,
) -> "list[RouteGroup]":
    from batch_gateway.services.state_snapshot import StateReader
    from batch_gateway.settings.readers import READS
    from batch_gateway.web.api.admin import AdminRoutes
    from batch_gateway.web.api.admin_batches import AdminBatchRoutes
    from batch_gateway.web.api.admin_keys import AdminKeyRoutes
    from batch_gateway.web.api.admin_work import AdminWorkRoutes

    settings = runtime.settings
    state = StateReader(runtime.metadata, runtime.coordination, runtime.clock)
    sink = BrokerSink(settings)
    stack.push_async_callback(sink.close)
    admin = AdminRoutes(
        metadata=runtime.metadata,
        state=state,
        sink=sink,
        weights=settings.queue.tenant_weights,
        max_activations=settings.execution.max_activations,
        auth=settings.auth.kind,
        currency=currency,
    )
    batches = AdminBatchRoutes(
        rows=runtime.metadata.batches,
        batches=services.batches,
        analytics=services.analytics,
        endpoints=services.endpoints,
        coordination=runtime.coordination,
        estimates=estimates,
        clock=runtime.clock,
    )
    work = AdminWorkRoutes(
        coordination=runtime.coordination,
        state=state,
        models=runtime.routes,
        clock=runtime.clock,
        functions=list(READS),
        ceiling=settings.limits.ceiling,
    )
    keys = AdminKeyRoutes(
        runtime.metadata.api_keys,
        runtime.clock,
        max_bytes=settings.api.max_json_bytes,
        idle_s=idle_s,
    )
    return [admin, batches, work, keys]


def _uploads(runtime: FunctionRuntime) -> "UploadService":
    from batch_gateway.services.files.uploads import UploadService

    return UploadService(file_dependencies(runtime))


def _actions(runtime: FunctionRuntime) -> "BatchActions":
    from batch_gateway.services.batches.actions import BatchActions

    return BatchActions(
        metadata=runtime.metadata,
        files=runtime.files,
        queue=runtime.coordination.queue,
        control=runtime.coordination.batch_changes,
        termination=runtime.termination,
        activation_trigger=runtime.activation_trigger,
        clock=runtime.clock,
    )


def _results(runtime: FunctionRuntime) -> "ResultService":
    from batch_gateway.services.results.stream import ResultService
    from batch_gateway.web.stopping import stopping

    return ResultService(
        metadata=runtime.metadata,
        files=runtime.files,
        clock=runtime.clock,
        follow=timedelta(seconds=runtime.settings.api.follow_s),
        stopping=stopping(),
    )


def _models(runtime: FunctionRuntime, stack: AsyncExitStack) -> "ModelService":
    from batch_gateway.adapters.engine_http import HttpModelCatalog
    from batch_gateway.services.models import ModelService

    engine = HttpModelCatalog(runtime.routes)
    stack.push_async_callback(engine.close)
    return ModelService(routes=runtime.routes, engine=engine, clock=runtime.clock)


def _endpoints(runtime: FunctionRuntime, stack: AsyncExitStack) -> "EndpointService":
    from batch_gateway.services.webhooks.endpoints import EndpointService

    client = LazyWebhookClient(runtime.settings.webhooks)
    stack.push_async_callback(client.close)
    return EndpointService(
        webhooks=runtime.metadata.webhooks,
        client=client,
        sealer=open_sealer(runtime.settings),
        clock=runtime.clock,
        most=runtime.settings.webhooks.most_endpoints,
    )
