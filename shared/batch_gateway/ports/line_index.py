"""Sorting millions of line references in bounded memory."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol


class LineRef(NamedTuple):
    """Where one request line is, and where it belongs in the plan."""

    line: int  # 1-based line number of the input
    offset: int  # bytes from the start of the file
    length: int  # bytes, without the line end
    model: str
    prefix: bytes  # sort key: chained block hashes of the rendered prompt prefix
    cost: int  # estimated tokens
    custom_id_hash: bytes  # 16 bytes


class LineIndex(Protocol):
    """Synchronous: used from a worker thread."""

    def add(self, refs: Iterable[LineRef]) -> None: ...

    def duplicates(self, limit: int) -> list[int]:
        """Line numbers whose custom_id occurred on an earlier line, ascending."""
        ...

    def ordered(self) -> Iterator[LineRef]:
        """All references by (model, prefix, line)."""
        ...


class LineIndexes(Protocol):
    def open(self) -> AbstractContextManager[LineIndex]:
        """A new empty index on scratch disk; gone when the context ends."""
        ...
