"""An input file that is uploaded: a file, or standard input."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Self

from batch_gateway.cli.errors import CommandError

#: A first line that is longer is not looked at.
_HEAD_BYTES = 1024 * 1024


class InputSource(io.RawIOBase):
    """Bytes that are read once, or again from the start when it is a regular file.

    ``seen`` is called with the number of bytes read so far.
    """

    def __init__(self, name: str, stream: BinaryIO, size: int | None) -> None:
        self.name = name
        self.size = size
        """In bytes; None: not known before the end."""
        self.seen: Callable[[int], None] = lambda _count: None
        self._stream = stream
        self._head = b"" if size is not None else stream.readline(_HEAD_BYTES)
        self._read = 0

    @classmethod
    def open(cls, path: str) -> Self:
        """``-`` is standard input. Raises CommandError."""
        if path == "-":
            return cls("stdin.jsonl", sys.stdin.buffer, None)
        try:
            stream = Path(path).open("rb")  # noqa: SIM115 - closed by close
            size = os.fstat(stream.fileno()).st_size
        except OSError as error:
            raise CommandError(f"cannot read {path}: {error.strerror}", 2) from error
        regular = stream.seekable()
        return cls(Path(path).name, stream, size if regular else None)

    @classmethod
    def of(cls, path: str, stream: BinaryIO) -> Self:
        """The file at ``path`` that is open as ``stream``, at its start; closed with this."""
        name = "stdin.jsonl" if path == "-" else Path(path).name
        return cls(name, stream, os.fstat(stream.fileno()).st_size)

    def first_url(self) -> str | None:
        """The ``url`` of the first request; None when it has none or cannot be read."""
        head = self._head
        if self.size is not None:
            head = self._stream.readline(_HEAD_BYTES)
            self._stream.seek(0)
        try:
            url = json.loads(head)["url"]
        except (ValueError, KeyError, TypeError):
            return None
        return url if isinstance(url, str) else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.size is not None

    def read(self, size: int = -1, /) -> bytes:
        chunk, self._head = self._head[:size], self._head[size:]
        chunk = chunk or self._stream.read(size)
        self._read += len(chunk)
        self.seen(self._read)
        return chunk

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if self.size is None:
            raise io.UnsupportedOperation("standard input is read once")
        self._read = self._stream.seek(offset, whence)
        return self._read

    def tell(self) -> int:
        if self.size is None:
            raise io.UnsupportedOperation("standard input is read once")
        return self._stream.tell()

    def close(self) -> None:
        if self._stream is not sys.stdin.buffer:
            self._stream.close()
        super().close()
