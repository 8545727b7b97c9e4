"""Puts the janitor together."""

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_gateway.wiring.function import Function, Handler, event_function
from batch_gateway.wiring.runtime import Runtime

if TYPE_CHECKING:
    from batch_gateway.services.upkeep.sweep import Janitor


def make_janitor(runtime: Runtime) -> "Janitor":
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
        routes=runtime.routes,
        lease_ttl=timedelta(seconds=settings.execution.lease_ttl_s),
        kept=Kept(
            deliveries=timedelta(seconds=settings.webhooks.keep_s),
            causes=timedelta(seconds=settings.intake.remember_s),
            dead_letters=timedelta(seconds=settings.dead_letters.keep_s),
        ),
        rules=settings.sweep,
    )


def janitor_function() -> Function:
    def use_case(runtime: Runtime, _stack: AsyncExitStack) -> Handler:
        janitor = make_janitor(runtime)
        return lambda _event: janitor.sweep()

    return event_function("janitor", use_case)
