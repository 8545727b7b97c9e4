"""Batches that have ended, by when: those whose retention is over are deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

OUTLIVED = sa.text("status IN ('completed', 'failed', 'expired', 'cancelled') AND NOT unswept")


def upgrade() -> None:
    op.create_index(
        "batches_outlived",
        "batches",
        ["status_since", "id"],
        postgresql_where=OUTLIVED,
        sqlite_where=OUTLIVED,
    )
