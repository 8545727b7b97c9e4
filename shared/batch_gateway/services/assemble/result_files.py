"""The rows of a batch's result files."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from batch_gateway import traces
from batch_gateway.core.ids import FileId
from batch_gateway.core.model import Batch, File
from batch_gateway.services.assemble.merge import MergedFile
from batch_gateway.services.files.content import BATCH_OUTPUT, file_of


def assembly_span(batch: Batch) -> AbstractContextManager[traces.Span]:
    """The span of the work that writes the result files of ``batch`` and ends it."""
    about: traces.Attributes = {
        traces.BATCH_ID: batch.id,
        traces.TENANT: batch.tenant,
        "batch_gateway.lines": batch.counts.total,
    }
    return traces.span("assemble batch", batch.traceparent, kind="consumer", attributes=about)


def result_file(
    batch: Batch,
    kind: str,
    name: FileId,
    product: MergedFile,
    now: datetime,
    default_expiry: timedelta | None,
) -> File | None:
    """The row of the output or error file (``kind``) of ``batch``; None: it has no line.

    ``default_expiry``: after which files expire when the batch says nothing; None: they are kept.
    """
    if not product.lines:
        return None
    expiry = default_expiry
    if batch.output_expires_after_s is not None:
        expiry = timedelta(seconds=batch.output_expires_after_s)
    return file_of(
        name,
        batch.tenant,
        product,
        filename=f"{batch.id}_{kind}.jsonl",
        purpose=BATCH_OUTPUT,
        created_at=now,
        expires_at=None if expiry is None else now + expiry,
    )


def with_saved_tokens(batch: Batch, saved: int) -> Mapping[str, Any] | None:
    """The batch's options with what only its results tell; None when they stay as they are."""
    return {**batch.options, "saved_tokens": saved} if batch.runs_once else None
