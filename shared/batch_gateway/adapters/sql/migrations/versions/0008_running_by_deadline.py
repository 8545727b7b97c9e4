"""Batches whose deadline runs, by deadline, under a predicate that leads SQLite to this index.

With ``status IN (...)`` SQLite takes the index by status instead and sorts all open batches.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"

DEADLINE_RUNS = sa.text("ending IS NULL AND coalesce(status, '') IN ('validating', 'in_progress')")


def upgrade() -> None:
    op.drop_index("batches_by_deadline", "batches")
    op.create_index(
        "batches_by_deadline",
        "batches",
        ["deadline", "id"],
        postgresql_where=DEADLINE_RUNS,
        sqlite_where=DEADLINE_RUNS,
    )
