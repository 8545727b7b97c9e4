"""Sealed headers: as long as a batch may be worked on, and no longer."""

import pytest
from fixtures.metadata import (
    FAR_AHEAD,
    LONG_AGO,
    SECOND,
    T0,
    a_batch,
    assembled,
    claimed,
    planned,
)

from batch_gateway.core.ids import ActivationId
from batch_gateway.core.model import BatchStatus, ResultTally
from batch_gateway.ports.metadata import MetadataStore

SEALED = "b64+/=="
HOLDER = ActivationId("assembler")
LATER = T0 + 60 * SECOND


async def test_whoever_leases_a_shard_gets_them(metadata):
    batch = await planned(metadata, sealed=SEALED)

    lease = await claimed(metadata, batch, 0)

    assert lease.sealed == SEALED
    taken = await metadata.shards.take_over(lease.ref, holder=HOLDER, token="u", now=LATER)
    assert taken is not None
    assert taken.sealed == SEALED


async def test_a_batch_without_any_has_none(metadata):
    lease = await claimed(metadata, await planned(metadata), 0)

    assert lease.sealed is None


async def test_they_are_deleted_when_a_batch_fails(metadata):
    batch = a_batch(sealed=SEALED)
    await metadata.batches.create(batch, [])

    failed = await metadata.batches.fail(batch.id, [], now=LATER, events=[])

    assert failed is not None
    assert failed.sealed is None
    assert (await metadata.batches.load(batch.id)).sealed is None


@pytest.mark.parametrize("end", [BatchStatus.COMPLETED, BatchStatus.CANCELLED, BatchStatus.EXPIRED])
async def test_they_are_deleted_when_a_batch_ends(metadata: MetadataStore, end):
    deadline = LONG_AGO if end is BatchStatus.EXPIRED else FAR_AHEAD
    batch = await planned(metadata, shards=1, sealed=SEALED, deadline=deadline)
    if end is BatchStatus.COMPLETED:
        lease = await claimed(metadata, batch, 0)
        await metadata.shards.finish(lease.ref, [], ResultTally(), now=LATER, events=[])
    elif end is BatchStatus.CANCELLED:
        await metadata.batches.cancel(batch.tenant, batch.id, now=LATER, fence_at=LATER, events=[])
    else:
        await metadata.batches.expire(batch.id, now=LATER, fence_at=LATER, events=[])
    assert (await metadata.batches.load(batch.id)).sealed == SEALED

    ended = await assembled(metadata, batch.id, end, now=LATER, counts=batch.counts)

    assert (ended.status, ended.sealed) == (end, None)
    assert (await metadata.batches.load(batch.id)).sealed is None
