"""External merge of a batch's result lines by line number, in bounded memory.

The results of some shards are one sorted *run*, appended to one file on scratch disk; merging reads
all runs side by side with small buffers. Of runs with long lines, only the places of the lines are
in memory, and a line is read when its turn comes. Lines come out in input order, as chunks for the
output and the error file. Runs in a worker thread.
"""

import hashlib
import heapq
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from batch_gateway.core.call_statistics import CallStatistics
from batch_gateway.core.engine_response import NO_TOKENS, Tokens
from batch_gateway.core.engine_values import count, total
from batch_gateway.core.lines import PartLine, decode_part_line
from batch_gateway.core.model import TokenUsage

CHUNK = 1024 * 1024  # bytes handed on at a time
_BUFFERS = 16 * 1024 * 1024  # bytes of all read buffers together
_LARGEST_BUFFER = 256 * 1024
_SMALLEST_BUFFER = 4 * 1024
_LONG = 256 * 1024  # bytes of a line that is not in memory before its turn


class _StoredLine(NamedTuple):
    """Where an encoded part line is in the file."""

    line: int
    start: int
    size: int  # bytes


@dataclass(slots=True)
class MergedFile:
    """What one of the two files has got so far."""

    size: int = 0
    lines: int = 0
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _chunk: list[bytes] = field(default_factory=list)
    _chunk_size: int = 0

    def add(self, line: bytes) -> None:
        self._chunk.append(line)
        self._chunk_size += len(line)
        self.lines += 1

    def full(self) -> bool:
        return self._chunk_size >= CHUNK

    def take(self) -> bytes:
        """The lines that were added since the last call."""
        chunk = b"".join(self._chunk)
        self._chunk, self._chunk_size = [], 0
        self.size += len(chunk)
        self.sha256.update(chunk)
        return chunk


class OutputFiles:
    """Both files of a batch, to which its results are added in input order."""

    def __init__(self) -> None:
        self.output = MergedFile()
        self.error = MergedFile()
        self.statistics = CallStatistics()
        self.saved = 0  # tokens of results that are another line's too
        self._tokens: Tokens = NO_TOKENS

    def add(self, line: PartLine) -> MergedFile:
        """Add a result; the file that it is in."""
        product = self.output if line.ok else self.error
        product.add(line.result_line + b"\n")
        tokens, used = self._tokens, line.tokens
        self._tokens = (
            tokens[0] + count(used[0]),
            tokens[1] + count(used[1]),
            tokens[2] + count(used[2]),
            tokens[3] + count(used[3]),
        )
        self.statistics.add(line)
        self.saved = total(self.saved, count(line.saved))
        return product

    @property
    def usage(self) -> TokenUsage:
        """Tokens of all results that were added."""
        given, cached, made, reasoning = map(total, self._tokens)
        return TokenUsage(
            input_tokens=given,
            cached_tokens=cached,
            output_tokens=made,
            reasoning_tokens=reasoning,
        )


class ResultMerge(OutputFiles):
    """Add runs, then read ``chunks`` to the end; then what ``OutputFiles`` has holds."""

    def __init__(self, temp_dir: Path) -> None:
        super().__init__()
        self._file = tempfile.TemporaryFile(dir=temp_dir)  # noqa: SIM115  (closed by close)
        self._runs: list[tuple[int, int]] = []  # offset, end
        self._large: list[list[_StoredLine]] = []

    def add_run(self, content: bytes, start: int = 0) -> None:
        """Add encoded part lines of some shards, sorted by line number: ``content`` from ``start``
        on, which is not copied."""
        if _has_long_line(content, start):
            lines = content[start:].splitlines(keepends=True)
            self.add_large_run((decode_part_line(raw).line, raw) for raw in lines)
        elif start < len(content):
            begin = self._file.tell()
            self._file.write(memoryview(content)[start:])
            self._runs.append((begin, self._file.tell()))

    def add_large_run(self, lines: Iterable[tuple[int, bytes]]) -> None:
        """Add line numbers with encoded part lines, of which some may be large; in any order."""
        found = []
        for number, raw in lines:
            found.append(_StoredLine(number, self._file.tell(), len(raw)))
            self._file.write(raw)
        self._large.append(sorted(found))

    def chunks(self) -> Iterator[tuple[MergedFile, bytes]]:
        """Yield the contents of both files in order, each chunk with the product it belongs to."""
        self._file.flush()
        share = _BUFFERS // max(1, len(self._runs))
        buffer = min(_LARGEST_BUFFER, max(_SMALLEST_BUFFER, share))
        runs: list[Iterable[PartLine | _StoredLine]] = [*self._large]
        runs += [self._read(start, end, buffer) for start, end in self._runs]
        last = 0
        for found in heapq.merge(*runs, key=_number):
            if found.line == last:  # the first result of a line wins
                continue
            last = found.line
            line = self._load(found) if isinstance(found, _StoredLine) else found
            product = self.add(line)
            if product.full():
                yield product, product.take()
        for product in (self.output, self.error):
            if rest := product.take():
                yield product, rest

    def _read(self, start: int, end: int, buffer: int) -> Iterator[PartLine]:
        rest = b""
        while start < end:
            data = os.pread(self._file.fileno(), min(buffer, end - start), start)
            start += len(data)
            *lines, rest = (rest + data).split(b"\n")
            if not lines:
                buffer *= 2  # a line longer than the buffer: do not join it piece by piece
            for raw in lines:
                yield decode_part_line(raw)

    def _load(self, at: _StoredLine) -> PartLine:
        return decode_part_line(os.pread(self._file.fileno(), at.size, at.start))

    def close(self) -> None:
        self._file.close()


def _number(line: PartLine | _StoredLine) -> int:
    return line.line


def _has_long_line(content: bytes, start: int) -> bool:
    """Whether a line of ``content`` from ``start`` on is longer than ``_LONG``."""
    while len(content) - start > _LONG:
        end = content.rfind(b"\n", start, start + _LONG)
        if end < 0:
            return True
        start = end + 1
    return False
