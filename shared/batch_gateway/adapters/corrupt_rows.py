"""Rows that cannot be decoded: each is decoded on its own, and a page leaves them out.

A skipped row is logged once by each process and counted at each read.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from batch_gateway import meters
from batch_gateway.core.errors import CorruptRow
from batch_gateway.ports.corrupt_rows import note
from batch_gateway.ports.pages import Page

R = TypeVar("R")
T = TypeVar("T")

logger = logging.getLogger(__name__)

_REMEMBERED = 10_000  # rows that were logged
_logged: set[tuple[str, str]] = set()


@contextmanager
def decoding(kind: str, id_: object) -> Iterator[None]:
    """Raises CorruptRow for whatever goes wrong while the row ``id_`` is decoded."""
    try:
        yield
    except CorruptRow:
        raise
    except Exception as error:
        raise CorruptRow(kind, str(id_), f"{type(error).__name__}: {error}") from error


def skipped(error: CorruptRow) -> None:
    """Log (once) and count a row that is left out."""
    meters.CORRUPT_ROWS.labels(error.kind).inc()
    note(error)
    row = (error.kind, error.id)
    if row in _logged:
        return
    if len(_logged) >= _REMEMBERED:
        _logged.clear()
    _logged.add(row)
    logger.error("%s", error, extra={"action": "corrupt_row", "item": error.id})


def decodable(rows: Iterable[R], decode: Callable[[R], T]) -> list[T]:
    """Those of ``rows`` that can be decoded."""
    found = []
    for row in rows:
        try:
            found.append(decode(row))
        except CorruptRow as error:
            skipped(error)
    return found


async def decodable_page(
    fetch: Callable[[int], Awaitable[Sequence[R]]], decode: Callable[[R], T], limit: int
) -> list[T]:
    """The first ``limit`` rows that can be decoded; fewer only when there are no more.

    ``fetch`` returns the first so many rows. Rows that are skipped are made up for, so that they
    neither end a walk over pages early nor hide what is behind them.
    """
    wanted = limit
    while True:
        rows = await fetch(wanted)
        found = decodable(rows, decode)
        if len(found) >= limit or len(rows) < wanted:
            return found[:limit]
        wanted = max(2 * wanted, limit + len(rows) - len(found))


async def decodable_listing(
    fetch: Callable[[int], Awaitable[Sequence[R] | None]], decode: Callable[[R], T], limit: int
) -> Page[T] | None:
    """A page of a listing; None when ``fetch`` returns None: no row has the id of its cursor."""
    unknown = False

    async def known(most: int) -> Sequence[R]:
        nonlocal unknown
        rows = await fetch(most)
        unknown = rows is None
        return rows or []

    items = await decodable_page(known, decode, limit + 1)
    return None if unknown else Page(items=items[:limit], more=len(items) > limit)
