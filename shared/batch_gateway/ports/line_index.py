"""Sorts millions of line references in bounded memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from batch_gateway.core.planning import LineRef, ReusedAnswer

__all__ = ["LineIndex", "LineIndexes", "LineRef", "ReusedAnswer"]


class LineIndex(Protocol):
    """Synchronous: used from a worker thread."""

    def add(self, refs: Iterable[LineRef]) -> None: ...

    def duplicates(self, limit: int) -> list[int]:
        """Line numbers whose custom_id occurred on an earlier line, ascending."""
        ...

    def invalidate_duplicates(self) -> None:
        """Mark all lines that ``duplicates`` returns as invalid."""
        ...

    def answer(self, answers: Iterable[ReusedAnswer]) -> None:
        """Take valid lines with these custom_ids out of ``ordered``; the first answer counts."""
        ...

    def answered(self) -> Iterator[tuple[int, ReusedAnswer]]:
        """Line number and answer of each line that was taken out, by line."""
        ...

    def join_twins(self, most: int) -> Mapping[str, tuple[int, int]]:
        """Make valid lines with the same twin copies of the first of them, if it is not answered.

        At most ``most`` lines go together; what is beyond begins anew. By model: how many lines
        have become copies, and what they would have cost.
        """
        ...

    def copies(self, line: int) -> Sequence[LineRef]:
        """Those of a line, by line."""
        ...

    def ordered(self) -> Iterator[LineRef]:
        """All references by (model, prefix, line), without those answered and without copies."""
        ...


class LineIndexes(Protocol):
    def open(self) -> AbstractContextManager[LineIndex]:
        """A new empty index on scratch disk; gone when the context ends."""
        ...
