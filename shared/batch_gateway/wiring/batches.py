"""Builds the services that create batches and files, for several functions."""

from datetime import timedelta
from typing import TYPE_CHECKING

from batch_gateway.wiring.runtime import FunctionRuntime

if TYPE_CHECKING:
    from batch_gateway.services.batches.completion_estimates import CompletionEstimates
    from batch_gateway.services.batches.service import BatchService
    from batch_gateway.services.files.dependencies import FileDependencies
    from batch_gateway.services.files.service import FileService


def make_completion_estimates(runtime: FunctionRuntime) -> "CompletionEstimates":
    from batch_gateway.services.batches.completion_estimates import CompletionEstimates

    ceiling = runtime.settings.limits.ceiling
    return CompletionEstimates(runtime.coordination, runtime.routes, runtime.clock, ceiling=ceiling)


def make_batches(
    runtime: FunctionRuntime, estimates: "CompletionEstimates | None" = None
) -> "BatchService":
    """``estimates`` None: no completion estimates."""
    from batch_gateway.services.batches.service import BatchService

    settings = runtime.settings
    return BatchService(
        metadata=runtime.metadata,
        publisher=runtime.publisher,
        termination=runtime.termination,
        clock=runtime.clock,
        fence=timedelta(seconds=settings.execution.fence_s),
        strict=settings.api.mode == "strict",
        header_passthrough=runtime.header_passthrough,
        quotas=settings.quota.quotas,
        estimates=estimates,
    )


def make_files(runtime: FunctionRuntime) -> "FileService":
    from batch_gateway.services.files.service import FileService

    return FileService(file_dependencies(runtime))


def file_dependencies(runtime: FunctionRuntime) -> "FileDependencies":
    from batch_gateway.services.files.dependencies import FileDependencies

    return FileDependencies(
        metadata=runtime.metadata,
        files=runtime.files,
        clock=runtime.clock,
        api=runtime.settings.api,
        quotas=runtime.settings.quota.quotas,
        coordination=runtime.coordination,
    )
