"""External merge of a batch's result lines by line number, in bounded memory.

Each shard is one sorted *run*, appended to one file on scratch disk; merging reads all runs side
by side with small buffers. Lines come out in input order, as chunks for the output and the error
file. Runs in a worker thread.
"""

import hashlib
import heapq
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from batch_gateway.core.call_statistics import CallStatistics
from batch_gateway.core.engine_response import NO_TOKENS, Tokens, count, total
from batch_gateway.core.lines import PartLine, decode_part_line
from batch_gateway.core.model import Usage

CHUNK = 1024 * 1024  # bytes handed on at a time
_BUFFERS = 64 * 1024 * 1024  # bytes of all read buffers together
_LARGEST_BUFFER = 256 * 1024
_SMALLEST_BUFFER = 4 * 1024


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


class ResultMerge:
    """Add runs, then read ``chunks`` to the end.

    Then ``output``, ``error``, ``usage`` and ``statistics`` hold.
    """

    def __init__(self, temp_dir: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=temp_dir)  # noqa: SIM115  (closed by close)
        self._runs: list[tuple[int, int]] = []  # offset, end
        self.output = MergedFile()
        self.error = MergedFile()
        self.usage = Usage()
        self.statistics = CallStatistics()
        self.saved = 0  # tokens of results that are another line's too

    def add_run(self, lines: bytes) -> None:
        """Add one shard's encoded part lines, sorted by line number."""
        if lines:
            start = self._file.tell()
            self._file.write(lines)
            self._runs.append((start, start + len(lines)))

    def chunks(self) -> Iterator[tuple[MergedFile, bytes]]:
        """Yield the contents of both files in order, each chunk with the product it belongs to."""
        self._file.flush()
        share = _BUFFERS // max(1, len(self._runs))
        buffer = min(_LARGEST_BUFFER, max(_SMALLEST_BUFFER, share))
        runs = [self._read(start, end, buffer) for start, end in self._runs]
        last = 0
        tokens: Tokens = NO_TOKENS
        for line in heapq.merge(*runs, key=_number):
            if line.line == last:  # the first result of a line wins
                continue
            last = line.line
            product = self.output if line.ok else self.error
            product.add(line.result_line + b"\n")
            given, cached, made, reasoning = line.tokens
            tokens = (
                tokens[0] + count(given),
                tokens[1] + count(cached),
                tokens[2] + count(made),
                tokens[3] + count(reasoning),
            )
            self.statistics.add(line)
            self.saved = total(self.saved, count(line.saved))
            if product.full():
                yield product, product.take()
        self.usage = Usage(
            input_tokens=total(tokens[0]),
            cached_tokens=total(tokens[1]),
            output_tokens=total(tokens[2]),
            reasoning_tokens=total(tokens[3]),
        )
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

    def close(self) -> None:
        self._file.close()


def _number(line: PartLine) -> int:
    return line.line
