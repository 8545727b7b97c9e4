"""A function: opens its resources when the server starts, and serves its application."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

from starlette.requests import Request
from starlette.types import ASGIApp

from batch_gateway import log
from batch_gateway.core.errors import NotFound
from batch_gateway.core.events import Event
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.services.instance_heartbeat import InstanceHeartbeat
from batch_gateway.services.task_group import task_group
from batch_gateway.settings import Settings, read_settings, sends_events
from batch_gateway.web import metrics
from batch_gateway.web.failure_reasons import not_ready
from batch_gateway.web.function import event_app, http_function
from batch_gateway.web.listening import listening_on
from batch_gateway.web.metrics_page import MetricsPage, with_metrics
from batch_gateway.web.readiness import Refusal
from batch_gateway.wiring.configuration_watch import ConfigurationWatch, configuration
from batch_gateway.wiring.runtime import FunctionRuntime, open_runtime
from batch_gateway.wiring.stores import local_folders, signing_keys
from batch_gateway.wiring.tracing import recorded_spans

Function = Callable[[Request], Awaitable[ASGIApp]]
Handler = Callable[[Event], Awaitable[None]]


def refuse_strangers(settings: Settings, host: str) -> None:
    """Raise ValueError when a function that other hosts can reach would accept any caller.

    ``host`` is the address that it listens on.
    """
    if host in ("127.0.0.1", "::1", "localhost"):
        return
    if settings.auth.kind == "none":
        raise ValueError(f"auth.kind is none: not while listening on {host}, name an authenticator")
    if not signing_keys(settings):
        raise ValueError(f"events.signing_keys is empty: not while listening on {host}")


def hosted_function(
    name: str,
    build: Callable[[FunctionRuntime, AsyncExitStack], ASGIApp],
    *,
    refusal: Refusal | None = None,
) -> Function:
    """A function whose application ``build`` makes; what it opens further goes on the stack.

    ``refusal`` answers requests before the function is ready; None: as events are answered.
    """

    @asynccontextmanager
    async def hosted() -> AsyncIterator[ASGIApp]:
        settings = read_settings(name)
        log.configure(settings.log, service=name)
        refuse_strangers(settings, listening_on())
        async with (
            recorded_spans(settings, name),
            open_runtime(settings) as runtime,
            task_group() as group,
            AsyncExitStack() as stack,
        ):
            own = configuration(name, settings, os.environ.get("K_REVISION", ""))
            watch = ConfigurationWatch(
                runtime.coordination,
                own,
                superseded=runtime.superseded,
                ready=runtime.ready,
                look_s=settings.probes.configuration_s,
            )
            stack.callback(group.create_task(watch.run()).cancel)
            heartbeat = InstanceHeartbeat(runtime.coordination.function_instances, name)
            stack.callback(group.create_task(heartbeat.run()).cancel)
            if sends_events(name):
                stack.callback(group.create_task(runtime.outbox_relay.run()).cancel)
                stack.callback(group.create_task(runtime.publisher.forget_later()).cancel)
            for store, folder in local_folders(settings).items():
                metrics.measure_disk(store, folder)
            app = watch.counting(build(runtime, stack))
            app = runtime.ready.gate(app, refusal or partial(not_ready, name))
            yield with_metrics(app, metrics_page(name, runtime))

    return http_function(name, hosted)


def metrics_page(name: str, runtime: FunctionRuntime) -> MetricsPage:
    """The function's own counters; the API's page also has the state of the whole service."""
    rules = runtime.settings.metrics
    token = None if rules.token is None else rules.token.get_secret_value()
    if name != "api":
        return MetricsPage(token=token)
    from batch_gateway.services.state_snapshot import StateReader
    from batch_gateway.web.auth import LoopbackAuthenticator

    auth = runtime.settings.auth
    return MetricsPage(
        token=token,
        public=auth.kind != "none",
        refuse=LoopbackAuthenticator(TenantId(auth.tenant), auth.hosts).refuse_web_pages,
        state_reader=StateReader(runtime.metadata, runtime.coordination, runtime.clock),
        tenants=rules.tenants,
    )


def event_function(
    name: str, use_case: Callable[[FunctionRuntime, AsyncExitStack], Handler]
) -> Function:
    def build(runtime: FunctionRuntime, stack: AsyncExitStack) -> ASGIApp:
        return event_app(
            name,
            use_case(runtime, stack),
            keys=signing_keys(runtime.settings),
            ready=runtime.ready,
            patience=timedelta(seconds=runtime.settings.events.unknown_key_s),
        )

    return hosted_function(name, build)


def batch_of(event: Event) -> BatchId:
    """The batch of an event. Raises NotFound when the event names none."""
    if not isinstance(batch := event.data.get("batch_id"), str):
        raise NotFound(f"{event.id} names no batch")
    return BatchId(batch)
