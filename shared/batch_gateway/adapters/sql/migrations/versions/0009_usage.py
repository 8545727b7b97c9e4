"""Statistics of calls, and usage that outlives batches."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"

_AMOUNTS = (
    "batches",
    "completed",
    "failed",
    "not_run",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)


def upgrade() -> None:
    op.add_column("batches", sa.Column("api_key", sa.Text))
    op.add_column("shards", sa.Column("statistics", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "batch_summaries",
        sa.Column("batch_id", sa.Text, sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("summary", sa.Text, nullable=False),
    )
    op.create_table(
        "usage",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("api_key", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _AMOUNTS),
    )
    op.create_index("usage_of_tenant", "usage", ["tenant", "day"])
