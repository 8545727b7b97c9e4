"""Builds the planner."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from batch_gateway.wiring.function import Function, Handler, batch_of, event_function
from batch_gateway.wiring.runtime import FunctionRuntime

if TYPE_CHECKING:
    from batch_gateway.services.plan.planner import Planner


def make_planner(runtime: FunctionRuntime) -> "Planner":
    from batch_gateway.adapters.memory_line_index import MemoryLineIndexes
    from batch_gateway.adapters.sqlite_line_index import SqliteLineIndexes
    from batch_gateway.services.plan.input_scan import InputRules
    from batch_gateway.services.plan.planner import Planner

    settings = runtime.settings
    return Planner(
        stores=runtime.stores,
        events=runtime.events,
        indexes=SqliteLineIndexes(settings.files.scratch_dir),
        small_indexes=MemoryLineIndexes(),
        prices=settings.prices.price_list,
        clock=runtime.clock,
        rules=InputRules(
            planning=settings.planning,
            max_lines=settings.api.max_lines,
            max_file_bytes=settings.api.max_file_bytes,
            strict=settings.api.mode == "strict",
            quotas=settings.quota.quotas,
        ),
        routes=runtime.routes,
        temp_dir=settings.files.scratch_dir,
    )


def planner_function() -> Function:
    def use_case(runtime: FunctionRuntime, _stack: AsyncExitStack) -> Handler:
        planner = make_planner(runtime)
        return lambda event: planner.plan(batch_of(event))

    return event_function("planner", use_case)
