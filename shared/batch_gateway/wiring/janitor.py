"""Builds the janitor."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_gateway.web.stopping import stopping
from batch_gateway.wiring.batches import make_completion_estimates
from batch_gateway.wiring.function import Function, Handler, event_function
from batch_gateway.wiring.runtime import FunctionRuntime

if TYPE_CHECKING:
    from batch_gateway.services.maintenance.janitor_loop import JanitorLoop
    from batch_gateway.services.maintenance.retention import BatchRetention
    from batch_gateway.services.maintenance.sweep import Janitor


def make_janitor(runtime: FunctionRuntime) -> "Janitor":
    from batch_gateway.services.maintenance.available_work import AvailableWorkCheck
    from batch_gateway.services.maintenance.cleanup import RecordRetention
    from batch_gateway.services.maintenance.sweep import Janitor

    settings = runtime.settings
    return Janitor(
        stores=runtime.stores,
        events=runtime.events,
        termination=runtime.termination,
        clock=runtime.clock,
        available_work=AvailableWorkCheck(runtime.coordination, runtime.routes, runtime.clock),
        estimates=make_completion_estimates(runtime),
        retention=make_retention(runtime),
        lease_ttl=timedelta(seconds=settings.execution.lease_ttl_s),
        kept=RecordRetention(
            deliveries=timedelta(seconds=settings.webhooks.keep_s),
            causes=timedelta(seconds=settings.intake.remember_s),
            dead_letters=timedelta(seconds=settings.dead_letters.keep_s),
            usage=timedelta(seconds=settings.usage.keep_s),
            audit=timedelta(seconds=settings.audit.keep_s),
        ),
        rules=settings.sweep,
    )


def make_retention(runtime: FunctionRuntime) -> "BatchRetention":
    from batch_gateway.services.maintenance.retention import BatchRetention

    kept_s = runtime.settings.batches.retention_s
    kept = timedelta(seconds=kept_s) if kept_s else None
    return BatchRetention(runtime.metadata, runtime.files, runtime.clock, kept)


def make_janitor_loop(runtime: FunctionRuntime, *, stopping: asyncio.Event) -> "JanitorLoop":
    from batch_gateway.services.maintenance.available_work import AvailableWorkCheck
    from batch_gateway.services.maintenance.janitor_loop import JanitorLoop
    from batch_gateway.services.maintenance.janitor_schedule import JanitorSchedule

    rules = runtime.settings.sweep
    return JanitorLoop(
        janitor=make_janitor(runtime),
        schedule=JanitorSchedule(
            metadata=runtime.metadata,
            dependents=runtime.dependents,
            available_work=AvailableWorkCheck(runtime.coordination, runtime.routes, runtime.clock),
            retention=make_retention(runtime),
            routes=runtime.routes,
            clock=runtime.clock,
            absence=timedelta(seconds=rules.absence_s),
        ),
        janitor_trigger=runtime.janitor_trigger,
        stopping=stopping,
        superseded=runtime.superseded,
        rules=rules,
    )


def janitor_function() -> Function:
    def use_case(runtime: FunctionRuntime, _stack: AsyncExitStack) -> Handler:
        janitor_loop = make_janitor_loop(runtime, stopping=stopping())
        return lambda _event: janitor_loop.run()

    return event_function("janitor", use_case)
