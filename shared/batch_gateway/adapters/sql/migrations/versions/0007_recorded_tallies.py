"""Counts of a running batch are the sums of what is recorded for all its shards.

Until now they were those of closed shards only, and what was recorded for a shard that had been
handed back was not counted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0008"

_RUNS = "status NOT IN ('completed', 'failed', 'expired', 'cancelled')"
_AMOUNTS = (
    "completed",
    "failed",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_SUMS = ", ".join(
    f"{name} = (SELECT SUM(s.{name}) FROM shards s WHERE s.batch_id = batches.id)"
    for name in _AMOUNTS
)


def upgrade() -> None:
    op.execute(
        sa.text(
            f"UPDATE batches SET {_SUMS} WHERE {_RUNS} AND EXISTS ("
            "SELECT 1 FROM shards s WHERE s.batch_id = batches.id AND s.completed + s.failed > 0)"
        )
    )
