"""Pages of rows, for listings of a tenant and for sweeps.

Rows that cannot be decoded are left out, and further rows take their places.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from batch_gateway.adapters.corrupt_rows import decodable_listing, decodable_page
from batch_gateway.adapters.redis_metadata.fields import Row, row
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts
from batch_gateway.core.ids import TenantId
from batch_gateway.ports.pages import Page

T = TypeVar("T")


async def listing(
    scripts: MetadataScripts,
    kind: str,
    tenant: TenantId,
    decode: Callable[[Row], T],
    *,
    purpose: str | None = None,
    after: str | None,
    offset: int = 0,
    descending: bool = True,
    limit: int,
) -> Page[T] | None:
    """A page of the tenant's rows as values; None when ``after`` names no row of the tenant."""

    async def fetch(most: int) -> Sequence[Row] | None:
        rows = await scripts.run(
            "page",
            kind=kind,
            tenant=tenant,
            purpose=purpose,
            after=after,
            offset=offset,
            descending=descending,
            limit=most,
        )
        return None if rows is None else [row(fields) for fields in rows]

    return await decodable_listing(fetch, decode, limit)


async def due(
    scripts: MetadataScripts,
    kind: str,
    index: str,
    decode: Callable[[Row], T],
    *,
    until: datetime,
    after: Row | None = None,
    limit: int,
) -> list[T]:
    """The first rows of a sweep's index that can be decoded."""

    async def fetch(most: int) -> Sequence[Row]:
        rows = await scripts.run(
            "due", kind=kind, indexes=[index], until=until, after=after, limit=most
        )
        return [row(fields) for fields in rows]

    return await decodable_page(fetch, decode, limit)
