"""Blobs as the files of a folder.

A blob is written under a random name in ``.unfinished`` below the root, forced to disk, renamed to
its key, and every folder on its path is forced to disk too: before the rename it is not visible,
afterwards it survives a power cut. A folder may vanish between its making and the rename, because
deleting the last blob removes it; then it is made again. What a killed process left in
``.unfinished`` is swept by age.

All calls of the operating system run in threads, so a slow network volume stops only its caller.
"""

import asyncio
import errno
import os
import stat
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import uuid4

from batch_gateway.adapters.disk_errors import refused
from batch_gateway.adapters.streams import (
    CHUNK,
    blocks,
    finish_even_if_cancelled,
    process_in_background,
)
from batch_gateway.core.errors import NotFound, StorageFull, Unavailable
from batch_gateway.core.keys import checked_key, checked_prefix
from batch_gateway.ports.files import BlobStat

P = ParamSpec("P")
T = TypeVar("T")

_UNFINISHED = ".unfinished"
_PAGE = 500  # entries listed per thread call
_COPIED = 64 * 1024 * 1024  # bytes that the kernel is asked to copy at once
#: Errors of copy_file_range on filesystems without it, or between two filesystems.
_NOT_IN_THE_KERNEL = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV})
_SMALL = 256 * 1024  # bytes of a part, about
_REMOVED = 100  # blobs that one call removes: a thread cannot be stopped
_RENAMES = 100  # attempts against deleters of the same folder


class LocalFiles:
    """``root`` is made when it is missing. Its filesystem must rename atomically."""

    def __init__(self, root: Path, on_full: Callable[[], None] = lambda: None) -> None:
        """``on_full`` is called when a write has failed and a small one would fail too: one blob
        that is larger than the room there is says nothing about others."""
        self._root = root.absolute()
        self._on_full = on_full

    async def put(self, key: str, chunks: AsyncIterable[bytes] | bytes) -> int:
        draft = _Draft(self._root, self._path(key))
        if isinstance(chunks, bytes) and len(chunks) <= CHUNK:
            return await self._put_small(draft, chunks)
        try:
            await self._call(draft.open)
            async with aclosing(blocks(chunks, CHUNK)) as gathered:
                await process_in_background(gathered, lambda block: self._call(draft.write, block))
            await self._call(draft.publish)
        except StorageFull:
            await self._tell_if_full(draft)
            raise
        finally:
            await self._call(draft.close)
        return draft.size

    async def _put_small(self, draft: "_Draft", content: bytes) -> int:
        """All of it in one call of a thread."""

        def put() -> None:
            try:
                draft.open()
                draft.write(content)
                draft.publish()
            finally:
                draft.close()

        try:
            await self._call(put)
        except StorageFull:
            await self._tell_if_full(draft)
            raise
        return draft.size

    async def concatenate(self, key: str, parts: Sequence[str]) -> int:
        draft = _Draft(self._root, self._path(key))
        try:
            await self._call(draft.open)
            for part in parts:
                await self._call(draft.append, self._path(part), part)
            await self._call(draft.publish)
        except StorageFull:
            await self._tell_if_full(draft)
            raise
        finally:
            await self._call(draft.close)
        return draft.size

    async def read(
        self, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        blob = _Blob(self._path(key), key)
        try:
            while not blob.ended:
                length = CHUNK if end is None else max(0, min(CHUNK, end - start))
                chunk = await self._call(blob.read, length, start)
                start += len(chunk)
                if chunk:
                    yield chunk
        finally:
            if not blob.ended:
                await self._call(blob.close)

    async def size(self, key: str) -> int:
        return (await self._call(_stat, self._path(key), key)).st_size

    @asynccontextmanager
    async def local_copy(self, key: str, temp_dir: Path) -> AsyncIterator[Path]:  # noqa: ARG002
        path = self._path(key)
        await self._call(_stat, path, key)
        yield path

    async def delete(self, *keys: str) -> None:
        for path in [self._path(key) for key in keys]:
            await self._call(self._remove, path)

    async def delete_prefix(self, prefix: str) -> int:
        removed = 0
        blobs = self._walk(checked_prefix(prefix))

        def remove() -> int | None:
            """How many of the next were there; None: there are none left."""
            page = [*islice(blobs, _REMOVED)]
            return sum(self._remove(self._path(blob.key)) for blob in page) if page else None

        while (some := await self._call(remove)) is not None:
            removed += some
        return removed

    async def list(self, prefix: str) -> AsyncIterator[BlobStat]:
        blobs = self._walk(checked_prefix(prefix))
        while page := await self._call(lambda: [*islice(blobs, _PAGE)]):
            for blob in page:
                yield blob

    async def sweep(self, before: datetime) -> int:
        return await self._call(_sweep, self._root / _UNFINISHED, before.timestamp())

    async def check(self) -> None:
        await self._call(_probe, _Draft(self._root, self._root / "probe"))

    async def close(self) -> None:
        """Nothing is held open between calls."""

    async def _tell_if_full(self, failed: "_Draft") -> None:
        await self._call(failed.close)
        try:
            await self._call(_probe, _Draft(self._root, self._root / "probe"), _SMALL)
        except Unavailable:
            self._on_full()

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    async def _call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a thread, to its end; whatever the system refuses is Unavailable."""
        try:
            return await finish_even_if_cancelled(asyncio.to_thread(work, *args, **kwargs))
        except OSError as error:
            raise refused(f"file store {self._root}", error) from error

    def _remove(self, path: Path) -> bool:
        """Whether ``path`` was there. Folders that are empty now go too."""
        if not _unlink(path):
            return False
        for folder in path.parents:
            if folder == self._root:
                break
            try:
                folder.rmdir()
            except OSError:
                break  # it has another blob, or another process was faster
        return True

    def _walk(self, prefix: str) -> Iterator[BlobStat]:
        """Blobs below ``prefix``, ascending by whole key: ``a-b`` comes before ``a/b``."""
        names: list[str] = []
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(self._root / prefix) as entries,
        ):
            names += (
                f"{entry.name}/" if entry.is_dir() else entry.name
                for entry in entries
                if not entry.name.startswith(".")
            )
        for name in sorted(names):
            key = f"{prefix}{name}"
            if name.endswith("/"):
                yield from self._walk(key)
                continue
            with suppress(FileNotFoundError):  # deleted since
                status = (self._root / key).stat()
                modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
                yield BlobStat(key=key, size=status.st_size, modified_at=modified_at)


class _Blob:
    """A blob that is being read. Every call may come from another thread."""

    def __init__(self, path: Path, key: str) -> None:
        self.ended = False  # nothing is left to read, and the file is closed
        self._path = path
        self._key = key
        self._size = 0
        self._fd: int | None = None

    def open(self) -> None:
        _stat(self._path, self._key)
        try:
            self._fd = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            raise NotFound(f"no blob {self._key}") from None
        self._size = os.fstat(self._fd).st_size  # for ever: blobs are immutable

    def read(self, length: int, offset: int) -> bytes:
        """Up to ``length`` bytes; opens the file at first, and closes it at its end."""
        if self._fd is None:
            self.open()
        assert self._fd is not None
        chunk = os.pread(self._fd, length, offset)
        if not chunk or offset + len(chunk) >= self._size:
            self.close()
        return chunk

    def copy_to(self, target: int) -> int:
        """Write all bytes to the file descriptor ``target``; how many."""
        assert self._fd is not None, "copy_to before open"
        copied = 0
        while step := _copy(self._fd, copied, target):
            copied += step
        return copied

    def close(self) -> None:
        self.ended = True
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class _Draft:
    """A blob that is being written: unseen until published, gone when closed before that.

    Every call may come from another thread.
    """

    def __init__(self, root: Path, path: Path) -> None:
        self.size = 0  # bytes written
        self._root = root
        self._path = path
        self._unfinished = root / _UNFINISHED / uuid4().hex
        self._fd: int | None = None

    def open(self) -> None:
        _make_folder(self._unfinished.parent)
        self._fd = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)

    def write(self, block: bytes | bytearray) -> None:
        assert self._fd is not None, "write before open"
        rest = memoryview(block)
        while rest:
            written = os.write(self._fd, rest)
            rest = rest[written:]
            self.size += written

    def append(self, path: Path, key: str) -> None:
        """Add the bytes of another blob. Raises NotFound."""
        assert self._fd is not None, "append before open"
        blob = _Blob(path, key)
        try:
            blob.open()
            self.size += blob.copy_to(self._fd)
        finally:
            blob.close()

    def sync(self) -> None:
        assert self._fd is not None, "sync before open"
        os.fsync(self._fd)

    def publish(self) -> None:
        """Give the file its name, and make both durable up to the root."""
        self.sync()
        for attempt in range(_RENAMES):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._unfinished.replace(self._path)
                break
            except (FileNotFoundError, FileExistsError):  # the folder went while it was made
                if attempt == _RENAMES - 1 or not self._unfinished.exists():
                    raise
        for folder in self._path.parents:
            with suppress(FileNotFoundError):  # the blob is deleted already
                _sync_folder(folder)
            if folder == self._root:
                break

    def close(self) -> None:
        """A second time it is nothing."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            os.close(fd)
        finally:
            _unlink(self._unfinished)


def _copy(source: int, offset: int, target: int) -> int:
    """Copy some bytes from ``offset`` on, 0 at the end; inside the kernel where it can do that."""
    if sys.platform == "linux":
        try:
            return os.copy_file_range(source, target, _COPIED, offset_src=offset)
        except OSError as error:
            if error.errno not in _NOT_IN_THE_KERNEL:
                raise
    return os.write(target, os.pread(source, CHUNK, offset))


def _make_folder(folder: Path) -> None:
    """Make ``folder`` and what is missing above it, durably."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _stat(path: Path, key: str) -> os.stat_result:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no blob {key}") from None
    if not stat.S_ISREG(status.st_mode):
        raise NotFound(f"no blob {key}")
    return status


def _unlink(path: Path) -> bool:
    """Whether there was a file to remove."""
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    return True


def _sweep(folder: Path, before: float) -> int:
    """Remove files that were not written to since ``before`` (unix seconds)."""
    removed = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # finished or swept since
                if entry.stat().st_mtime < before:
                    removed += _unlink(Path(entry.path))
    return removed


def _probe(draft: _Draft, size: int = 1) -> None:
    """Write and remove a file of ``size`` bytes. Raises OSError."""
    try:
        draft.open()
        draft.write(bytes(size))
        draft.sync()
    finally:
        draft.close()
