"""Stores and reads the completion order of a batch.

It is written while a batch is assembled and goes with the file that it is kept with; see
``core.completion_order`` for what it is good for.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO

from batch_gateway.core.completion_order import DeliveredLines, encode
from batch_gateway.core.ids import FileId
from batch_gateway.core.layout import order_key
from batch_gateway.ports.files import FileStore
from batch_gateway.services.results.parts import ShardResults

_CHUNK = 1024 * 1024


class CompletionOrderLog:
    """Add the shards of a batch by index, then ``store``."""

    def __init__(self, temp_dir: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=temp_dir)  # noqa: SIM115  (see close)
        self._size = 0

    def add(self, order: bytes) -> None:
        """That of the next shards (``order_of``). Blocks when it is long."""
        self._size += self._file.write(order)

    async def store(self, files: FileStore, beside: FileId) -> None:
        """Keep what there is with the file ``beside``."""
        if self._size:
            self._file.seek(0)
            await files.put(order_key(beside), self._chunks())

    async def _chunks(self) -> AsyncIterator[bytes]:
        while chunk := await asyncio.to_thread(self._file.read, _CHUNK):
            yield chunk

    def close(self) -> None:
        self._file.close()


def order_of(results: ShardResults) -> bytes:
    """The completion order of one shard."""
    return encode((line, line not in results.failed) for line in results.lines)


async def read_lines_given(
    files: FileStore, beside: FileId, given: Mapping[int, int]
) -> DeliveredLines:
    """Which lines of the files a reader has had when they were shards. Raises NotFound."""
    found = DeliveredLines(given)
    async for chunk in files.read(order_key(beside)):
        await asyncio.to_thread(found.feed, chunk)
    return found
