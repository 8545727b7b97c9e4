"""A batch's result files: their rows, and the batch as it ends with them."""

import logging
import secrets
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from batch_gateway import traces
from batch_gateway.core.batch_summary import BatchSummary
from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import FileId, file_id
from batch_gateway.core.layout import blobs_of
from batch_gateway.core.model import Batch, BatchStatus, File, LineCounts, TokenUsage
from batch_gateway.ports.files import FileStore
from batch_gateway.services.assemble.merge import MergedFile, OutputFiles
from batch_gateway.services.files.content import BATCH_OUTPUT, file_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFiles:
    """Files that are stored but not yet the batch's, and what they contain."""

    output: File | None  # None: no line succeeded
    error: File | None  # None: no line failed
    counts: LineCounts
    usage: TokenUsage
    saved: int  # tokens of lines that were not run because another line is the same
    summary: BatchSummary

    @property
    def files(self) -> list[File]:
        return [file for file in (self.output, self.error) if file is not None]

    def ended(self, batch: Batch, to: BatchStatus, now: datetime, **changes: Any) -> Batch:
        """``batch`` as it is when it ends with these files at ``now``."""
        return batch.evolve(
            status=to,
            output_file_id=None if self.output is None else self.output.id,
            error_file_id=None if self.error is None else self.error.id,
            counts=self.counts,
            usage=self.usage,
            **{f"{to}_at": now},
            **changes,
        )

    def options(self, batch: Batch) -> Mapping[str, Any] | None:
        """The batch's options with fields computed from its results; None: unchanged."""
        return {**batch.options, "saved_tokens": self.saved} if batch.runs_once else None


async def discard(files: FileStore, names: Iterable[FileId]) -> None:
    """Delete blobs that no row names; the janitor deletes what is left by an error."""
    try:
        await files.delete(*blobs_of(*names))
    except Temporary as error:
        logger.warning("Blobs are not deleted: %s", error, extra={"action": "orphan"})


def log_ended(batch: Batch) -> None:
    logger.info(
        "%s: %d succeeded, %d failed of %d",
        batch.status.value,
        batch.counts.completed,
        batch.counts.failed,
        batch.counts.total,
        extra={
            "action": batch.status.value,
            "tenant_id": batch.tenant,
            "batch_id": batch.id,
        },
    )


def assembly_span(batch: Batch) -> AbstractContextManager[traces.Span]:
    """The span of the work that writes the result files of ``batch`` and ends it."""
    about: traces.Attributes = {
        traces.BATCH_ID: batch.id,
        traces.TENANT: batch.tenant,
        "batch_gateway.lines": batch.counts.total,
    }
    return traces.span("assemble batch", batch.traceparent, kind="consumer", attributes=about)


def result_files(
    batch: Batch,
    merged: OutputFiles,
    names: tuple[FileId, FileId],
    *,
    counts: LineCounts,
    summary: BatchSummary,
    now: datetime,
    default_expiry: timedelta | None,
) -> ResultFiles:
    """The files of ``batch`` under ``names``: the output file, then the error file.

    ``default_expiry``: after which files expire when the batch sets no expiry; None: they are kept.
    """
    expiry = default_expiry
    if batch.output_expires_after_s is not None:
        expiry = timedelta(seconds=batch.output_expires_after_s)

    def row(kind: str, name: FileId, merged: MergedFile) -> File | None:
        if not merged.lines:
            return None
        return file_of(
            name,
            batch.tenant,
            merged,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose=BATCH_OUTPUT,
            created_at=now,
            expires_at=None if expiry is None else now + expiry,
        )

    return ResultFiles(
        output=row("output", names[0], merged.output),
        error=row("error", names[1], merged.error),
        counts=counts,
        usage=merged.usage,
        saved=merged.saved,
        summary=summary,
    )


def new_names() -> tuple[FileId, FileId]:
    """Ids of an output file and of an error file."""
    return file_id(secrets.token_bytes(12)), file_id(secrets.token_bytes(12))
