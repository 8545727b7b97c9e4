"""The file store: blobs of uploads, shards, parts and results."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStat:
    key: str
    size: int  # bytes
    modified_at: datetime


class FileStore(Protocol):
    """Immutable blobs under relative POSIX keys such as ``files/file-abc``.

    Keys are made by the services from ids, never from a client's words; a key with ``..``, an
    empty segment or a leading slash raises ValueError. All methods raise Unavailable when the
    store does not answer.
    """

    async def put(self, key: str, chunks: AsyncIterable[bytes] | bytes) -> int:
        """Store a blob and return its size in bytes.

        All or nothing: a reader gets the whole blob or none, and it is durable on return. When
        ``chunks`` raises, nothing remains and the exception passes through. Memory is bounded
        whatever the size.
        """
        ...

    async def concatenate(self, key: str, parts: Sequence[str]) -> int:
        """Store a blob that is the blobs ``parts``, one after the other; return its size in bytes.

        All or nothing, as ``put``. The parts stay. Their bytes are copied where they are kept, as
        far as the store can; memory is bounded whatever the size. Raises NotFound when a part is
        not there.
        """
        ...

    def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield bytes ``start`` (inclusive) to ``end`` (exclusive, None: all) in chunks <= 1 MiB.

        Raises NotFound on the first chunk.
        """
        ...

    async def size(self, key: str) -> int:
        """Bytes of the blob. Raises NotFound."""
        ...

    def local_copy(self, key: str, temp_dir: Path) -> AbstractAsyncContextManager[Path]:
        """The blob as a readable file on local disk, while the context is open.

        A remote blob is copied into ``temp_dir`` and removed afterwards. Raises NotFound.
        """
        ...

    async def delete(self, *keys: str) -> None:
        """Remove blobs; those that are not there are no error."""
        ...

    async def delete_prefix(self, prefix: str) -> int:
        """Remove all blobs whose key starts with ``prefix`` (which ends with ``/``); how many."""
        ...

    def list(self, prefix: str) -> AsyncIterator[BlobStat]:
        """Blobs whose key starts with ``prefix`` (which ends with ``/``), ascending by key.

        Lists what was complete when the call began; later ones may be missing.
        """
        ...

    async def sweep(self, before: datetime) -> int:
        """Remove leftovers of writes that began before ``before`` and never ended; how many."""
        ...

    async def check(self) -> None:
        """Raise Unavailable when blobs cannot be stored now."""
        ...

    async def close(self) -> None: ...
