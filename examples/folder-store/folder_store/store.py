"""A file store in one flat folder: a blob is a file whose name is the quoted key.

A blob is written under a temporary name that begins with a dot, synced to disk and renamed.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from io import BufferedWriter
from pathlib import Path
from urllib.parse import quote, unquote
from uuid import uuid4

from batch_gateway.core.errors import NotFound, StorageFull, Unavailable
from batch_gateway.core.keys import checked_key, checked_prefix
from batch_gateway.ports.files import BlobStat

CHUNK = 1024 * 1024  # bytes


class FolderStore:
    def __init__(self, folder: Path, on_full: Callable[[], None]) -> None:
        self._folder = folder
        self._on_full = on_full
        folder.mkdir(parents=True, exist_ok=True)

    async def put(self, key: str, chunks: AsyncIterable[bytes] | bytes) -> int:
        source = _one(chunks) if isinstance(chunks, bytes) else chunks
        target = self._path(key)
        draft = self._folder / f".{uuid4().hex}"
        size = 0
        try:
            with self._errors():
                file = draft.open("wb")
            with file:
                async for chunk in source:
                    with self._errors():
                        size += await asyncio.to_thread(file.write, chunk)
                with self._errors():
                    await asyncio.to_thread(_sync, file)
            with self._errors():
                draft.replace(target)
                await asyncio.to_thread(self._sync_folder)
        finally:
            draft.unlink(missing_ok=True)
        return size

    async def concatenate(self, key: str, parts: Sequence[str]) -> int:
        async def joined() -> AsyncIterator[bytes]:
            for part in parts:
                async for chunk in self.read(part):
                    yield chunk

        return await self.put(key, joined())

    async def read(
        self, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        with self._errors(key), self._path(key).open("rb") as file:
            file.seek(start)
            while end is None or start < end:
                length = CHUNK if end is None else min(CHUNK, end - start)
                chunk = await asyncio.to_thread(file.read, length)
                if not chunk:
                    break
                start += len(chunk)
                yield chunk

    async def size(self, key: str) -> int:
        with self._errors(key):
            return self._path(key).stat().st_size

    @asynccontextmanager
    async def local_copy(self, key: str, temp_dir: Path) -> AsyncIterator[Path]:  # noqa: ARG002
        await self.size(key)
        yield self._path(key)

    async def delete(self, *keys: str) -> None:
        for path in [self._path(key) for key in keys]:
            with self._errors():
                path.unlink(missing_ok=True)

    async def delete_prefix(self, prefix: str) -> int:
        keys = [blob.key async for blob in self.list(prefix)]
        await self.delete(*keys)
        return len(keys)

    async def list(self, prefix: str) -> AsyncIterator[BlobStat]:
        checked_prefix(prefix)
        with self._errors():
            names = await asyncio.to_thread(os.listdir, self._folder)
        for key in sorted(unquote(name) for name in names if not name.startswith(".")):
            if not key.startswith(prefix):
                continue
            try:
                stat = self._path(key).stat()
            except FileNotFoundError:
                continue  # it was deleted meanwhile
            changed = datetime.fromtimestamp(stat.st_mtime, UTC)
            yield BlobStat(key=key, size=stat.st_size, modified_at=changed)

    async def sweep(self, before: datetime) -> int:
        with self._errors():
            drafts = [path for path in self._folder.iterdir() if path.name.startswith(".")]
            old = [path for path in drafts if path.stat().st_mtime < before.timestamp()]
            for path in old:
                path.unlink(missing_ok=True)
        return len(old)

    async def check(self) -> None:
        await self.put("check", b"")
        await self.delete("check")

    async def close(self) -> None:
        """Nothing stays open."""

    def _path(self, key: str) -> Path:
        return self._folder / quote(checked_key(key), safe="")

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _errors(self, key: str = "") -> Iterator[None]:
        """Raise the port's errors for those of the operating system."""
        try:
            yield
        except FileNotFoundError as error:
            if key:
                raise NotFound(key) from error
            raise Unavailable(f"folder {self._folder}: {error}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self._on_full()
                raise StorageFull(f"folder {self._folder}: {error}") from error
            raise Unavailable(f"folder {self._folder}: {error}") from error


def _sync(file: BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
