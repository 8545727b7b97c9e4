"""Pages of the batches of all tenants, by creation: the tenants' listings, merged.

No listing holds all batches. The places of the newest ones are taken from the tenants' listings,
whose members begin with the creation, so that they compare across tenants as they do within one.
"""

from collections.abc import Sequence
from typing import cast

from batch_gateway.adapters.corrupt_rows import decodable
from batch_gateway.adapters.redis_metadata.accounts import RedisQuotaUsage
from batch_gateway.adapters.redis_metadata.codec import to_batch
from batch_gateway.adapters.redis_metadata.fields import Row, micros
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts, translated
from batch_gateway.core.ids import BatchId
from batch_gateway.core.model import Batch
from batch_gateway.ports.batches import ALL_BATCHES, BatchFilter
from batch_gateway.ports.pages import Page

SCAN = 200  # rows that a filtered listing reads at a time
_AT_ONCE = 50  # listings that are asked together
_DIGITS = 20  # of the creation in a member


async def page_of_all(
    scripts: MetadataScripts, *, limit: int, after: BatchId | None, only: BatchFilter
) -> Page[Batch] | None:
    """A page, the newest first. None when ``after`` names no batch."""
    upper = "+" if only.before is None else f"({_padded(micros(only.before))}"
    lower = "-" if only.since is None else f"[{_padded(micros(only.since))}"
    if after is not None:
        created_at = (await scripts.row(scripts.keys.batch(after))).get("created_at")
        if created_at is None:
            return None
        upper = _earlier(upper, f"{_padded(created_at)}:{after}")
    tenants = {tenant async for tenant in RedisQuotaUsage(scripts).tenants()}
    listings = [scripts.keys.of_tenant("batches-of", tenant) for tenant in tenants]
    found: list[Batch] = []
    step = max(limit + 1, SCAN if only != ALL_BATCHES else 0)
    while len(found) <= limit:
        places = await _newest(scripts, listings, upper, lower, step)
        rows = await _rows(scripts, [BatchId(place[_DIGITS + 1 :]) for place in places])
        found += [batch for batch in decodable(rows, to_batch) if only.admits(batch)]
        if len(places) < step:
            break
        upper = f"({places[-1]}"
    return Page(items=found[:limit], more=len(found) > limit)


async def _newest(
    scripts: MetadataScripts, listings: Sequence[str], upper: str, lower: str, most: int
) -> Sequence[str]:
    """The last ``most`` members of all ``listings`` between the bounds, the last one first.

    What the first listings have is a bound for those behind them.
    """
    found: list[str] = []
    for first in range(0, len(listings), _AT_ONCE):
        async with translated(), scripts.redis.pipeline(transaction=False) as asking:
            for listing in listings[first : first + _AT_ONCE]:
                asking.zrevrangebylex(listing, upper, lower, start=0, num=most)
            members = [member for some in await asking.execute() for member in some]
        found = sorted((*found, *members), reverse=True)[:most]
        if len(found) == most:
            lower = f"({found[-1]}"
    return found


async def _rows(scripts: MetadataScripts, ids: Sequence[BatchId]) -> Sequence[Row]:
    """The rows of those that have not been deleted meanwhile."""
    async with translated(), scripts.redis.pipeline(transaction=False) as asking:
        for id_ in ids:
            asking.hgetall(scripts.keys.batch(id_))
        rows = await asking.execute()
    return [cast(Row, row) for row in rows if row]  # the client decodes


def _earlier(bound: str, place: str) -> str:
    """The bound before ``place``, unless ``bound`` is an earlier one."""
    return f"({place}" if bound == "+" or place < bound[1:] else bound


def _padded(instant: str) -> str:
    return instant.rjust(_DIGITS, "0")
