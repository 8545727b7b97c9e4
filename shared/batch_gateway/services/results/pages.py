"""Iterates over long sequences in pieces."""

from collections.abc import AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def grouped(items: AsyncIterator[T], size: int) -> AsyncIterator[list[T]]:
    """``items``, ``size`` at a time; never an empty group."""
    group: list[T] = []
    async for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of ``chunks`` with their ends; the last one may have none."""
    pieces: list[bytes] = []
    async for chunk in chunks:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            yield b"".join((*pieces, line, b"\n"))
            pieces = []
        if rest:
            pieces.append(rest)
    if pieces:
        yield b"".join(pieces)
