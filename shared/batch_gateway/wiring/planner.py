"""Puts the planner together."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from batch_gateway.wiring.function import Function, Handler, batch_of, event_function
from batch_gateway.wiring.runtime import Runtime

if TYPE_CHECKING:
    from batch_gateway.services.plan.planner import Planner


def make_planner(runtime: Runtime) -> "Planner":
    from batch_gateway.adapters.sqlite_line_index import SqliteLineIndexes
    from batch_gateway.services.plan.planner import Planner
    from batch_gateway.services.plan.survey import Rules

    settings = runtime.settings
    return Planner(
        metadata=runtime.metadata,
        files=runtime.files,
        indexes=SqliteLineIndexes(settings.files.scratch_dir),
        queue=runtime.scratch.queue,
        rights=runtime.scratch.rights,
        rates=runtime.scratch.rates,
        paces=runtime.scratch.paces,
        announcer=runtime.announcer,
        notices=runtime.notices,
        waker=runtime.waker,
        clock=runtime.clock,
        rules=Rules(
            planning=settings.planning,
            max_lines=settings.api.max_lines,
            max_file_bytes=settings.api.max_file_bytes,
            strict=settings.api.mode == "strict",
            quotas=settings.quota.quotas,
        ),
        routes=runtime.routes,
        scratch=settings.files.scratch_dir,
    )


def planner_function() -> Function:
    def use_case(runtime: Runtime, _stack: AsyncExitStack) -> Handler:
        planner = make_planner(runtime)
        return lambda event: planner.plan(batch_of(event))

    return event_function("planner", use_case)
