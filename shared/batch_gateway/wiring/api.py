"""Puts the API together."""

from contextlib import AsyncExitStack
from datetime import timedelta

from starlette.types import ASGIApp

from batch_gateway.wiring.function import Function, hosted_function
from batch_gateway.wiring.routes import open_passing, open_routes
from batch_gateway.wiring.runtime import Runtime
from batch_gateway.wiring.stores import open_sealer, open_webhooks


def api_function() -> Function:
    def build(runtime: Runtime, stack: AsyncExitStack) -> ASGIApp:
        from batch_gateway.adapters.engine_http import HttpEngine
        from batch_gateway.services.batches.outlook import Outlooks
        from batch_gateway.services.batches.retry import Retries
        from batch_gateway.services.batches.service import BatchService
        from batch_gateway.services.batches.steering import Steering
        from batch_gateway.services.files.service import FileService
        from batch_gateway.services.files.uploads import UploadService
        from batch_gateway.services.models import ModelService
        from batch_gateway.services.results.lookup import Lookup
        from batch_gateway.services.results.stream import ResultService
        from batch_gateway.services.webhooks.endpoints import EndpointService
        from batch_gateway.web.api import api_app
        from batch_gateway.web.api.rates import RateLimits
        from batch_gateway.web.auth import authenticator
        from batch_gateway.web.stopping import stopping

        settings = runtime.settings
        routes = open_routes(settings)
        engine = HttpEngine(routes)
        stack.push_async_callback(engine.close)
        webhooks = open_webhooks(settings)
        stack.push_async_callback(webhooks.close)
        outlooks = Outlooks(runtime.scratch, routes, runtime.clock, ceiling=settings.limits.ceiling)
        batches = BatchService(
            quotas=settings.quota.quotas,
            metadata=runtime.metadata,
            progress=runtime.scratch.progress,
            announcer=runtime.announcer,
            endings=runtime.endings,
            clock=runtime.clock,
            fence=timedelta(seconds=settings.execution.fence_s),
            strict=settings.api.mode == "strict",
            passing=open_passing(settings),
            outlooks=None if settings.api.mode == "strict" else outlooks,
        )
        return api_app(
            files=FileService(
                metadata=runtime.metadata,
                files=runtime.files,
                clock=runtime.clock,
                api=settings.api,
                quotas=settings.quota.quotas,
            ),
            uploads=UploadService(
                metadata=runtime.metadata,
                files=runtime.files,
                clock=runtime.clock,
                api=settings.api,
                quotas=settings.quota.quotas,
            ),
            batches=batches,
            steering=Steering(
                metadata=runtime.metadata,
                files=runtime.files,
                queue=runtime.scratch.queue,
                control=runtime.scratch.control,
                endings=runtime.endings,
                waker=runtime.waker,
                clock=runtime.clock,
            ),
            retries=Retries(batches, runtime.metadata, runtime.clock),
            results=ResultService(
                metadata=runtime.metadata,
                files=runtime.files,
                clock=runtime.clock,
                follow=timedelta(seconds=settings.api.follow_s),
                stopping=stopping(),
            ),
            lookup=Lookup(runtime.metadata, runtime.files),
            models=ModelService(routes=routes, engine=engine, clock=runtime.clock),
            endpoints=EndpointService(
                webhooks=runtime.metadata.webhooks,
                client=webhooks,
                sealer=open_sealer(settings),
                clock=runtime.clock,
                most=settings.webhooks.most_endpoints,
            ),
            claims=runtime.metadata.claims,
            limits=RateLimits(runtime.scratch.rates, settings.quota),
            auth=authenticator(settings.auth, runtime.metadata.api_keys, runtime.clock),
            clock=runtime.clock,
            settings=settings.api,
            ready=runtime.ready,
            passed=settings.inference.pass_headers,
        )

    return hosted_function("api", build)
