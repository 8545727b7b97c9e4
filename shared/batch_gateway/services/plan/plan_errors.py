"""Errors of a batch whose input cannot be planned, in OpenAI's words."""

from batch_gateway.core.model import Batch, BatchError
from batch_gateway.services.process_deaths import DEATHS


def too_many_requests(limit: int) -> BatchError:
    """OpenAI counts tokens, we count requests; its code is what clients wait and retry for."""
    return BatchError(
        code="token_limit_exceeded",
        message=f"Enqueued request limit reached. Limit: {limit:,} enqueued requests. Please try "
        "again once some in_progress batches have been completed.",
    )


def planning_crashed(error: Exception) -> BatchError:
    return BatchError(
        code="planning_failed",
        message=f"The input could not be planned because of an internal error: "
        f"{type(error).__name__}. The log of the planner has the details.",
    )


def planning_killed() -> BatchError:
    return BatchError(
        code="planning_failed",
        message=f"The input could not be planned: {DEATHS} processes died while they read it,"
        " perhaps for lack of memory. The log of the planner and its platform have the details.",
    )


def origin_not_found(name: str) -> BatchError:
    return BatchError(
        code="invalid_request",
        message=f"Cannot find file {name} with the results of the batch that this one retries.",
        param="retry_of",
    )


def input_not_found(batch: Batch) -> BatchError:
    return BatchError(
        code="invalid_request",
        message=f"Cannot find file {batch.input_file_id}, or its purpose is not 'batch', or you "
        "do not have access to it.",
        param="file_id",
    )
