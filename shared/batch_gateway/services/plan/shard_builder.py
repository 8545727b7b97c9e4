"""Builds shards from the scanned input file, one at a time.

Reading and encoding happen in the worker thread that scanned the file; what crosses to the event
loop is one finished object at a time. A very small file needs no thread.
"""

import asyncio
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

from batch_gateway.core.ids import BatchId
from batch_gateway.core.lines import (
    ShardLine,
    custom_id_of,
    decode_input,
    encode_part_line,
    encode_shard_lines,
    not_answered,
)
from batch_gateway.core.model import BatchError, ResultTally
from batch_gateway.core.planning import INVALID, LineRef, cut_shards
from batch_gateway.core.validation import LineValidator, duplicate
from batch_gateway.ports.line_index import LineIndex
from batch_gateway.services.plan.input_scan import InputRules, too_long
from batch_gateway.services.plan.reused_results import ReusedResults

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BuiltShard:
    """A shard that is not stored yet."""

    index: int
    model: str
    content: bytes
    lines: int
    cost: int
    tally: (
        ResultTally | None
    )  # its lines are answered already, by ``content``; None: they are to be run


class ShardBuilder:
    """Builds shards from the scanned file, one at a time, in a thread."""

    def __init__(
        self,
        batch: BatchId,
        path: Path,
        index: LineIndex,
        thread: ThreadPoolExecutor | None,
        validator: LineValidator,
        rules: InputRules,
        reused: ReusedResults | None = None,
    ) -> None:
        """``thread`` None: reading is done in the caller's thread. ``reused``: results that
        are taken over, in shards in front of the others."""
        self.reused = reused
        self._batch = batch
        self._thread = thread
        self._validator = validator
        self._rules = rules
        self._index = index
        self._file = os.open(path, os.O_RDONLY)
        self._shards = self._all(index, reused)

    async def next(self) -> BuiltShard | None:
        """The next shard of the plan; None after the last."""
        return await run_in(self._thread, lambda: next(self._shards, None))

    def close(self) -> None:
        self._shards.close()
        os.close(self._file)

    def _all(
        self, index: LineIndex, reused: ReusedResults | None
    ) -> Generator[BuiltShard, None, None]:
        numbers = count()
        if reused is not None:
            for content, tally in reused.shards(index, self._rules.shard_size):
                lines = tally.completed + tally.failed
                yield BuiltShard(next(numbers), INVALID, content, lines, 0, tally)
        for refs in cut_shards(index.ordered(), self._rules.shard_size):
            yield self._read(next(numbers), refs)

    def _read(self, number: int, refs: list[LineRef]) -> BuiltShard:
        model = refs[0].model
        refused = model == INVALID or not self._validator.known(model)
        lines = len(refs) + sum(ref.copies for ref in refs)
        if refused:
            content = b"".join(map(self._refusal, refs))
            return BuiltShard(number, model, content, lines, 0, ResultTally(failed=lines))
        content = encode_shard_lines([line for ref in refs for line in self._requests(ref)])
        return BuiltShard(number, model, content, lines, sum(ref.cost for ref in refs), None)

    def _requests(self, ref: LineRef) -> list[ShardLine]:
        """The request as shards have it, with those that are the same to the last byte."""
        line = self._request(ref)
        lines = [line]
        for twin in self._index.copies(ref.line) if ref.copies else ():
            other = self._request(twin)
            if (other.url, bytes(other.body)) == (line.url, bytes(line.body)):
                line.copies.append((other.line, other.custom_id))
            else:  # only its digest is the same
                lines.append(other)
        return lines

    def _request(self, ref: LineRef) -> ShardLine:
        request = decode_input(os.pread(self._file, ref.length, ref.offset))
        return ShardLine(ref.line, request.custom_id, request.url, ref.model, request.body)  # type: ignore[arg-type]

    def _refusal(self, ref: LineRef) -> bytes:
        twins = self._index.copies(ref.line) if ref.copies else ()
        return b"".join(self._refusal_of(one) for one in (ref, *twins))

    def _refusal_of(self, ref: LineRef) -> bytes:
        raw = os.pread(self._file, ref.length, ref.offset)
        error = self._reason(ref, raw)
        return encode_part_line(
            not_answered(
                self._batch,
                ref.line,
                custom_id_of(raw),
                code=error.code,
                message=error.message,
            )
        )

    def _reason(self, ref: LineRef, raw: bytes) -> BatchError:
        """Why a line cannot be run: the errors of the scan are not stored, so the line is checked
        again."""
        if ref.model != INVALID:
            return BatchError(
                code="model_not_found", message=f"The model '{ref.model}' does not exist."
            )
        if not raw:
            return too_long(ref.line, self._rules)
        found = self._validator.check(ref.line, raw)
        return found if isinstance(found, BatchError) else duplicate(ref.line)


async def run_in(thread: ThreadPoolExecutor | None, work: Callable[[], T]) -> T:
    """The outcome of ``work`` in ``thread``; None: here, at once, for what takes no time."""
    if thread is None:
        return work()
    return await asyncio.get_running_loop().run_in_executor(thread, work)
