"""Sorting millions of line references in bounded memory."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from batch_gateway.core.planning import LineRef

__all__ = ["LineIndex", "LineIndexes", "LineRef"]


class LineIndex(Protocol):
    """Synchronous: used from a worker thread."""

    def add(self, refs: Iterable[LineRef]) -> None: ...

    def duplicates(self, limit: int) -> list[int]:
        """Line numbers whose custom_id occurred on an earlier line, ascending."""
        ...

    def invalidate_duplicates(self) -> None:
        """Make the lines that ``duplicates`` would tell, all of them, invalid ones."""
        ...

    def ordered(self) -> Iterator[LineRef]:
        """All references by (model, prefix, line)."""
        ...


class LineIndexes(Protocol):
    def open(self) -> AbstractContextManager[LineIndex]:
        """A new empty index on scratch disk; gone when the context ends."""
        ...
