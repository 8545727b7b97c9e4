"""Puts the janitor together."""

from contextlib import AsyncExitStack
from datetime import timedelta

from batch_gateway.wiring.function import Function, Handler, event_function
from batch_gateway.wiring.routes import open_routes
from batch_gateway.wiring.runtime import Runtime


def janitor_function() -> Function:
    def use_case(runtime: Runtime, _stack: AsyncExitStack) -> Handler:
        from batch_gateway.services.upkeep.sweep import Janitor, Kept

        janitor = Janitor(
            metadata=runtime.metadata,
            files=runtime.files,
            scratch=runtime.scratch,
            announcer=runtime.announcer,
            notices=runtime.notices,
            waker=runtime.waker,
            endings=runtime.endings,
            clock=runtime.clock,
            routes=open_routes(runtime.settings),
            lease_ttl=timedelta(seconds=runtime.settings.execution.lease_ttl_s),
            kept=Kept(
                deliveries=timedelta(seconds=runtime.settings.webhooks.keep_s),
                causes=timedelta(seconds=runtime.settings.intake.remember_s),
                dead_letters=timedelta(seconds=runtime.settings.dead_letters.keep_s),
            ),
            rules=runtime.settings.sweep,
        )
        return lambda _event: janitor.sweep()

    return event_function("janitor", use_case)
