"""Builds the executor."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_gateway.web.stopping import stopping
from batch_gateway.wiring.function import Function, Handler, event_function
from batch_gateway.wiring.runtime import FunctionRuntime

if TYPE_CHECKING:
    from batch_gateway.services.execute.executor import Executor


def make_executor(
    runtime: FunctionRuntime, stack: AsyncExitStack, *, stopping: asyncio.Event
) -> "Executor":
    """The executor; what it opens is closed with ``stack``."""
    from batch_gateway.adapters.answer_budget import AnswerBudget
    from batch_gateway.adapters.engine_metrics import HttpEngineMetrics
    from batch_gateway.adapters.model_http import HttpModelClient
    from batch_gateway.services.execute.collaborators import (
        EngineClients,
        ExecutorDependencies,
        ExecutorPolicies,
        StopRequests,
    )
    from batch_gateway.services.execute.executor import Executor

    settings = runtime.settings
    budget = AnswerBudget(settings.execution.answer_memory_bytes)
    client, metrics = HttpModelClient(budget=budget), HttpEngineMetrics()
    stack.push_async_callback(client.close)
    stack.push_async_callback(metrics.close)
    expiry = settings.api.output_expiry_s
    dependencies = ExecutorDependencies(
        stores=runtime.stores,
        engines=EngineClients(
            client=client,
            metrics=metrics,
            routes=runtime.routes,
            header_passthrough=runtime.header_passthrough,
        ),
        events=runtime.events,
        termination=runtime.termination,
        policies=ExecutorPolicies(
            execution=settings.execution,
            queue=settings.queue,
            retry=settings.retry,
            watching=settings.watching,
            prices=settings.prices.price_list,
            clock=runtime.clock,
            spans=settings.tracing.requests_per_shard,
            output_expiry=timedelta(seconds=expiry) if expiry else None,
        ),
    )
    stop_requests = StopRequests(stopping=stopping, superseded=runtime.superseded)
    executor = Executor(dependencies, stop_requests)
    budget.results = lambda: executor.waiting_result_bytes
    return executor


def executor_function() -> Function:
    def use_case(runtime: FunctionRuntime, stack: AsyncExitStack) -> Handler:
        executor = make_executor(runtime, stack, stopping=stopping())
        return lambda event: executor.work(event.id)

    return event_function("executor", use_case)
