"""Collects the rows that a metadata store skips because they cannot be decoded."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from batch_gateway.core.errors import CorruptRow

_collected: ContextVar[list[CorruptRow] | None] = ContextVar("corrupt_rows", default=None)


@contextmanager
def collecting() -> Iterator[list[CorruptRow]]:
    """Collects the rows that are skipped by calls of this task, each as often as it is read."""
    found: list[CorruptRow] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def note(error: CorruptRow) -> None:
    """Called by a store that skips a row."""
    found = _collected.get()
    if found is not None:
        found.append(error)
