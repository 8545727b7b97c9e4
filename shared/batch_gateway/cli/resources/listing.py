"""Lists of the API, page by page."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json, ServiceClient

_PAGE = 100


def every(service: "ServiceClient", path: str, limit: int, **query: Any) -> "Iterator[Json]":
    """The first ``limit`` objects of a list."""
    after = None
    left = limit
    while left > 0:
        page = service.get(path, limit=min(_PAGE, left), after=after, **query)
        yield from page["data"][:left]
        left -= len(page["data"])
        if not page.get("has_more") or not page["data"]:
            return
        after = page["data"][-1]["id"]
