"""The store itself: asyncio on top of blocking calls.

An object appears whole or not at all, so a blob that fits one part is a single PUT. A larger one
is an upload in parts, a few of them in flight, aborted when anything goes wrong; what a killed
process left is swept by age. boto3 blocks: its calls run in a pool of threads of this store.
"""

import asyncio
import functools
import logging
import os
import tempfile
import threading
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterator,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from batch_gateway.adapters.disk_errors import refused
from batch_gateway.adapters.s3_files.bucket import DELETED_AT_ONCE, S3Bucket
from batch_gateway.adapters.s3_files.download import BlobDownload
from batch_gateway.adapters.s3_files.pieces import BlobRange, pieces
from batch_gateway.adapters.s3_files.upload import PART, BlobPartUpload, BlobUpload
from batch_gateway.adapters.streams import blocks, finish_even_if_cancelled
from batch_gateway.core.errors import StorageFull, Unavailable
from batch_gateway.core.keys import checked_key, checked_prefix
from batch_gateway.ports.files import BlobStat

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16  # boto3 calls at once
_IN_FLIGHT = 2  # parts of one blob that are under way at once, each in memory
_ALL_IN_FLIGHT = 8  # parts of all blobs together
_RANGES = 4  # of a blob that are fetched at once


class S3Files:
    """Made by ``open_s3``."""

    def __init__(self, bucket: S3Bucket, on_full: Callable[[], None] = lambda: None) -> None:
        """``on_full`` is called when the bucket took no more."""
        self._bucket = bucket
        self._on_full = on_full
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        self._places = asyncio.Semaphore(_ALL_IN_FLIGHT)

    async def put(self, key: str, chunks: AsyncIterable[bytes] | bytes) -> int:
        checked_key(key)
        with self._telling():
            async with aclosing(blocks(chunks, PART)) as parts:
                first = await anext(parts, bytearray())
                if len(first) == PART:
                    return await self._put_parts(key, first, parts)
            await self._call(self._bucket.put, key, first)
            return len(first)

    async def concatenate(self, key: str, parts: Sequence[str]) -> int:
        checked_key(key)
        sizes = [await self.size(part) for part in parts]
        if not sum(sizes):
            return await self.put(key, b"")
        upload = self._bucket.upload(key)

        async def sendings() -> AsyncIterator[BlobPartUpload]:
            for piece in pieces(sizes):
                if isinstance(piece, BlobRange):
                    source = self._bucket.name(parts[piece.blob])
                    yield functools.partial(upload.copy, source, piece.start, piece.end)
                else:
                    yield functools.partial(upload.put_plain, await self._gather(piece, parts))

        with self._telling():
            await self._send(upload, upload.begin_copy, sendings())
        return sum(sizes)

    async def read(
        self, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        checked_key(key)
        if end is not None and end <= start:
            await self.size(key)  # NotFound must be raised for an empty range too
            return
        download = BlobDownload(self._bucket, key, start, end)
        try:
            while chunk := await self._call(download.read):
                yield chunk
        finally:
            await self._call(download.close)

    async def size(self, key: str) -> int:
        return (await self._call(self._bucket.head, checked_key(key))).size

    @asynccontextmanager
    async def local_copy(self, key: str, temp_dir: Path) -> AsyncIterator[Path]:
        checked_key(key)
        async with AsyncExitStack() as stack:
            try:
                copy = await self._call(_nameless, temp_dir)
                stack.push_async_callback(self._call, copy.close)
                await self._fetch(key, copy.fileno())
            except OSError as error:
                raise refused(f"scratch folder {temp_dir}", error) from error
            yield Path(f"/proc/self/fd/{copy.fileno()}")

    async def delete(self, *keys: str) -> None:
        names = [checked_key(key) for key in keys]
        for first in range(0, len(names), DELETED_AT_ONCE):
            await self._call(self._bucket.delete, names[first : first + DELETED_AT_ONCE])

    async def delete_prefix(self, prefix: str) -> int:
        pages = self._bucket.pages(checked_prefix(prefix))
        removed = 0
        while (page := await self._call(next, pages, None)) is not None:
            await self.delete(*(blob.key for blob in page))
            removed += len(page)
        return removed

    async def list(self, prefix: str) -> AsyncIterator[BlobStat]:
        pages = self._bucket.pages(checked_prefix(prefix))
        while (page := await self._call(next, pages, None)) is not None:
            for blob in page:
                yield blob

    async def sweep(self, before: datetime) -> int:
        return await self._call(self._bucket.sweep, before)

    async def check(self) -> None:
        await self._call(self._bucket.probe)

    async def close(self) -> None:
        await finish_even_if_cancelled(asyncio.to_thread(self._threads.shutdown))
        self._bucket.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except StorageFull:
            self._on_full()
            raise

    async def _put_parts(self, key: str, first: bytearray, rest: AsyncGenerator[bytearray]) -> int:
        upload = self._bucket.upload(key)
        size = 0

        async def sendings() -> AsyncIterator[BlobPartUpload]:
            nonlocal size
            part: bytearray | None = first
            while part is not None:
                size += len(part)
                yield functools.partial(upload.put, part)
                part = await anext(rest, None)

        await self._send(upload, upload.begin, sendings())
        return size

    async def _send(
        self, upload: BlobUpload, begin: Callable[[], None], sendings: AsyncIterator[BlobPartUpload]
    ) -> None:
        """Complete ``upload`` with ``sendings`` as its parts, or abort it."""
        running: deque[asyncio.Future[None]] = deque()
        number = 0
        try:
            await self._call(begin)
            async for sending in sendings:
                if len(running) == _IN_FLIGHT:
                    await finish_even_if_cancelled(running[0])
                    running.popleft()
                number += 1
                await self._places.acquire()
                running.append(self._start(sending, number=number))
                running[-1].add_done_callback(lambda _: self._places.release())
            while running:
                await finish_even_if_cancelled(running[0])
                running.popleft()
            await self._call(upload.complete)
        except BaseException:
            await finish_even_if_cancelled(self._give_up(upload, running))
            raise

    async def _gather(self, spans: Sequence[BlobRange], keys: Sequence[str]) -> bytearray:
        content = bytearray()
        for span in spans:
            async for chunk in self.read(keys[span.blob], start=span.start, end=span.end):
                content += chunk
        return content

    async def _give_up(self, upload: BlobUpload, running: deque[asyncio.Future[None]]) -> None:
        """Abort ``upload``. Parts that arrive after that would stay for ever: wait for them."""
        await asyncio.gather(*running, return_exceptions=True)
        try:
            await self._call(upload.abort)
        except Unavailable as error:
            logger.warning(
                "an upload could not be aborted and waits to be swept: %s",
                error,
                extra={"action": "upload_not_aborted"},
            )

    async def _fetch(self, key: str, copy: int) -> None:
        """Copy a blob into the empty file ``copy``, in several ranges at once."""
        head = await self._call(self._bucket.head, key)
        await self._call(os.truncate, copy, head.size)
        step = max(PART, -(-head.size // _RANGES))
        stop = threading.Event()
        running = [
            self._start(
                _save,
                BlobDownload(
                    self._bucket, key, start, min(start + step, head.size), etag=head.etag
                ),
                copy,
                start,
                stop,
            )
            for start in range(0, head.size, step)
        ]
        if not running:
            return
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            stop.set()
            await finish_even_if_cancelled(asyncio.gather(*running, return_exceptions=True))
        for part in running:
            part.result()

    def _start(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        call = functools.partial(work, *args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await finish_even_if_cancelled(self._start(work, *args, **kwargs))


def _nameless(folder: Path) -> IO[bytes]:
    """A new file without a name: a process that is killed leaves nothing behind."""
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


def _save(download: BlobDownload, copy: int, offset: int, stop: threading.Event) -> None:
    """Write ``download`` into ``copy`` at ``offset``; give up when ``stop`` is set."""
    try:
        while not stop.is_set() and (chunk := download.read()):
            rest = memoryview(chunk)
            while rest:
                written = os.pwrite(copy, rest, offset)
                offset += written
                rest = rest[written:]
    finally:
        download.close()
