"""Builds the dead letter sink."""

from contextlib import AsyncExitStack

from starlette.types import ASGIApp

from batch_gateway.wiring.function import Function, hosted_function
from batch_gateway.wiring.runtime import FunctionRuntime


def deadletter_function() -> Function:
    def build(runtime: FunctionRuntime, _stack: AsyncExitStack) -> ASGIApp:
        from batch_gateway.services.dead_letters import DeadLetterService
        from batch_gateway.web.deadletter import deadletter_app

        return deadletter_app(
            DeadLetterService(
                runtime.metadata.dead_letters, runtime.clock, runtime.settings.dead_letters.most
            ),
            ready=runtime.ready,
        )

    return hosted_function("deadletter", build)
