"""Puts the janitor together."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_gateway.web.stopping import stopping
from batch_gateway.wiring.batches import make_outlooks
from batch_gateway.wiring.function import Function, Handler, event_function
from batch_gateway.wiring.runtime import Runtime

if TYPE_CHECKING:
    from batch_gateway.services.upkeep.retention import Retention
    from batch_gateway.services.upkeep.rounds import Rounds
    from batch_gateway.services.upkeep.sweep import Janitor


def make_janitor(runtime: Runtime) -> "Janitor":
    from batch_gateway.services.upkeep.demand import Demand
    from batch_gateway.services.upkeep.sweep import Janitor, Kept

    settings = runtime.settings
    return Janitor(
        metadata=runtime.metadata,
        files=runtime.files,
        scratch=runtime.scratch,
        announcer=runtime.announcer,
        notices=runtime.notices,
        waker=runtime.waker,
        endings=runtime.endings,
        clock=runtime.clock,
        demand=Demand(runtime.scratch, runtime.routes, runtime.clock),
        outlooks=make_outlooks(runtime),
        retention=make_retention(runtime),
        lease_ttl=timedelta(seconds=settings.execution.lease_ttl_s),
        kept=Kept(
            deliveries=timedelta(seconds=settings.webhooks.keep_s),
            causes=timedelta(seconds=settings.intake.remember_s),
            dead_letters=timedelta(seconds=settings.dead_letters.keep_s),
        ),
        rules=settings.sweep,
    )


def make_retention(runtime: Runtime) -> "Retention":
    from batch_gateway.services.upkeep.retention import Retention

    kept_s = runtime.settings.batches.retention_s
    kept = timedelta(seconds=kept_s) if kept_s else None
    return Retention(runtime.metadata, runtime.files, runtime.clock, kept)


def make_rounds(runtime: Runtime, *, stopping: asyncio.Event) -> "Rounds":
    from batch_gateway.services.upkeep.attention import Attention
    from batch_gateway.services.upkeep.demand import Demand
    from batch_gateway.services.upkeep.rounds import Rounds

    rules = runtime.settings.sweep
    return Rounds(
        janitor=make_janitor(runtime),
        attention=Attention(
            metadata=runtime.metadata,
            followers=runtime.followers,
            demand=Demand(runtime.scratch, runtime.routes, runtime.clock),
            retention=make_retention(runtime),
            routes=runtime.routes,
            clock=runtime.clock,
            absence=timedelta(seconds=rules.absence_s),
        ),
        caller=runtime.caller,
        stopping=stopping,
        superseded=runtime.superseded,
        rules=rules,
    )


def janitor_function() -> Function:
    def use_case(runtime: Runtime, _stack: AsyncExitStack) -> Handler:
        rounds = make_rounds(runtime, stopping=stopping())
        return lambda _event: rounds.make()

    return event_function("janitor", use_case)
