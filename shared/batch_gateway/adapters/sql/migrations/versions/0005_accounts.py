"""What each tenant has: files, bytes, open batches and their requests."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

FROM_WHAT_THERE_IS = """
INSERT INTO accounts (tenant, files, stored_bytes, open_batches, queued_requests)
SELECT tenant, SUM(files), SUM(stored_bytes), SUM(open_batches), SUM(queued_requests) FROM (
    SELECT tenant, COUNT(*) AS files, SUM(size) AS stored_bytes, 0 AS open_batches,
        0 AS queued_requests
    FROM files GROUP BY tenant
    UNION ALL
    SELECT tenant, 0, 0, COUNT(*), SUM(total) FROM batches
    WHERE status NOT IN ('completed', 'failed', 'expired', 'cancelled') GROUP BY tenant
) AS everything GROUP BY tenant
"""


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("open_batches", sa.BigInteger(), nullable=False),
        sa.Column("queued_requests", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant"),
    )
    op.execute(FROM_WHAT_THERE_IS)
