"""Results that a retry takes over from the retried batch.

The results of that batch are looked up by ``custom_id``, which is unique among the valid requests
of a file, and become results of the new batch while it is planned, byte for byte. Only where they
are is kept, in the index of the lines. Runs in the planner's worker thread.
"""

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch_gateway.core.engine_response import NO_TOKENS
from batch_gateway.core.error_selection import ErrorSelection
from batch_gateway.core.errors import NotFound
from batch_gateway.core.ids import FileId, TenantId
from batch_gateway.core.lines import (
    PartLine,
    custom_id_hash,
    custom_id_of,
    encode_part_line,
    stored_result,
)
from batch_gateway.core.model import ResultTally
from batch_gateway.core.planning import ReusedAnswer, ShardLimits
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.line_index import LineIndex
from batch_gateway.ports.metadata import MetadataStore

_ANSWERS = 1000  # handed to the index at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOrigin:
    """The batch that is retried, as it was when the retry was requested."""

    batch: str
    output_file_id: str | None  # None: nothing had succeeded
    error_file_id: str | None  # None: every error is retried
    errors: Sequence[str]  # words of the errors to retry, when there is an error file

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "RetryOrigin | None":
        """The origin in a batch's options; None when it is no retry."""
        found = options.get("retry")
        return None if found is None else cls(**found)


class OriginDeleted(NotFound):
    """A file of the batch that is retried was deleted."""


class ReusedResults:
    """The files of an ended batch, and which of their lines the new batch takes over."""

    def __init__(self, output: Path | None, errors: Path | None, retried: ErrorSelection) -> None:
        """``errors`` None: none of its errors is taken over, else those not ``retried``."""
        self.taken = 0  # lines, as far as ``shards`` has been read
        self._retried = retried
        self._paths = [(path, ok) for path, ok in ((output, True), (errors, False)) if path]
        self._files = [os.open(path, os.O_RDONLY) for path, _ in self._paths]

    def index(self, index: LineIndex) -> None:
        """Tell the index which requests are answered, and where."""
        answers: list[ReusedAnswer] = []
        for number, (path, ok) in enumerate(self._paths):
            for answer in self._answers(number, path, ok):
                answers.append(answer)
                if len(answers) == _ANSWERS:
                    index.answer(answers)
                    answers = []
        index.answer(answers)

    def _answers(self, number: int, path: Path, ok: bool) -> Iterator[ReusedAnswer]:
        offset = 0
        with path.open("rb") as lines:
            for line in lines:
                start, offset = offset, offset + len(line)
                custom_id = custom_id_of(line)
                if custom_id is None or not (ok or self._kept(line)):
                    continue
                yield ReusedAnswer(
                    custom_id_hash(custom_id), number, start, len(line.rstrip(b"\n"))
                )

    def _kept(self, error: bytes) -> bool:
        """Whether an error is taken over; planning refuses again what was never valid."""
        return not (self._retried.admits(error) or self._retried.refused(error))

    def shards(self, index: LineIndex, size: ShardLimits) -> Iterator[tuple[bytes, ResultTally]]:
        """Part lines of what is taken over, some at a time, and what they come to."""
        lines: list[bytes] = []
        length = completed = 0
        for line, answer in index.answered():
            lines.append(self._part_line(line, answer))
            length += answer.length
            completed += self._paths[answer.file][1]
            self.taken += 1
            if len(lines) >= size.lines or length >= size.bytes:
                yield (
                    b"".join(lines),
                    ResultTally(completed=completed, failed=len(lines) - completed),
                )
                lines, length, completed = [], 0, 0
        if lines:
            yield b"".join(lines), ResultTally(completed=completed, failed=len(lines) - completed)

    def _part_line(self, line: int, answer: ReusedAnswer) -> bytes:
        raw = os.pread(self._files[answer.file], answer.length, answer.offset)
        ok = self._paths[answer.file][1]
        return encode_part_line(PartLine(line, ok, NO_TOKENS, stored_result(raw)))

    def close(self) -> None:
        for file in self._files:
            os.close(file)


@asynccontextmanager
async def reused_results_of(
    origin: RetryOrigin, tenant: TenantId, metadata: MetadataStore, files: FileStore, temp_dir: Path
) -> AsyncIterator[ReusedResults]:
    """What ``origin`` has, on local disk while the context is open. Raises OriginGone."""
    async with AsyncExitStack() as stack:

        async def local(name: str | None) -> Path | None:
            if name is None:
                return None
            file = await metadata.files.get(tenant, FileId(name))
            if file is None:
                raise OriginDeleted(name)
            try:
                return await stack.enter_async_context(files.local_copy(file.key, temp_dir))
            except NotFound as error:
                raise OriginDeleted(name) from error

        reused = ReusedResults(
            await local(origin.output_file_id),
            await local(origin.error_file_id),
            ErrorSelection(origin.errors),
        )
        stack.callback(reused.close)
        yield reused
