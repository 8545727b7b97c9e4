"""Builds the assembler."""

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_gateway.wiring.function import Function, Handler, batch_of, event_function
from batch_gateway.wiring.runtime import FunctionRuntime

if TYPE_CHECKING:
    from batch_gateway.services.assemble.assembler import Assembler


def make_assembler(runtime: FunctionRuntime) -> "Assembler":
    from batch_gateway.services.assemble.assembler import Assembler

    settings = runtime.settings
    expiry = settings.api.output_expiry_s
    return Assembler(
        metadata=runtime.metadata,
        files=runtime.files,
        coordination=runtime.coordination,
        publisher=runtime.publisher,
        webhook_outbox=runtime.webhook_outbox,
        clock=runtime.clock,
        temp_dir=settings.files.scratch_dir,
        lease_ttl=timedelta(seconds=settings.execution.assembly_ttl_s),
        default_expiry=timedelta(seconds=expiry) if expiry else None,
        longest_line=settings.planning.max_line_bytes,
        run_bytes=settings.execution.assembly_run_bytes,
    )


def assembler_function() -> Function:
    def use_case(runtime: FunctionRuntime, _stack: AsyncExitStack) -> Handler:
        assembler = make_assembler(runtime)
        return lambda event: assembler.assemble(batch_of(event))

    return event_function("assembler", use_case)
