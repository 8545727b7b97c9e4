"""The live counts of running batches: closed shards in the database, plus executors' reports."""

import logging
from collections.abc import Mapping, Sequence

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ShardId
from batch_gateway.core.model import Batch, Counts, ShardState, Tally
from batch_gateway.ports.scratch import Progress
from batch_gateway.ports.shards import ShardRows

logger = logging.getLogger(__name__)


async def with_progress(
    batches: Sequence[Batch], rows: ShardRows, progress: Progress
) -> tuple[Sequence[Batch], bool]:
    """``batches`` with what executors report of shards that are open in the database too.

    Also whether a reported shard was closed by then. Without the scratch server the database's
    own counts must do.
    """
    running = [batch.id for batch in batches if batch.open_shards]
    if not running:
        return batches, False
    try:
        reported = await progress.read(running)
    except Temporary as error:
        logger.warning("No live counts: %s", error, extra={"action": "no_progress"})
        return batches, False
    shards = [shard for tallies in reported.values() for shard in tallies]
    states = await rows.states(shards) if shards else {}
    is_open = {shard for shard, state in states.items() if state is not ShardState.CLOSED}
    live = [_live(batch, reported.get(batch.id, {}), is_open) for batch in batches]
    return live, len(is_open) < len(shards)


def _live(batch: Batch, reported: Mapping[ShardId, Tally], is_open: set[ShardId]) -> Batch:
    """The batch with the tallies of its open shards added, never beyond its total."""
    tally = sum((reported[shard] for shard in reported if shard in is_open), Tally())
    if tally == Tally():
        return batch
    counts = batch.counts
    completed = min(counts.completed + tally.completed, counts.total)
    failed = min(counts.failed + tally.failed, counts.total - completed)
    usage = tally.usage if batch.usage is None else batch.usage + tally.usage
    return batch.evolve(
        counts=Counts(total=counts.total, completed=completed, failed=failed), usage=usage
    )
