"""Scopes and last use of API keys; the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("scopes", sa.JSON(none_as_null=True)))
    op.add_column("api_keys", sa.Column("last_used_at", sa.BigInteger))
    op.create_table(
        "audit",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("api_key", sa.Text),
        sa.Column("operator", sa.Boolean, nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("forwarded_for", sa.Text),
        sa.Column("target", sa.Text),
        sa.Column("status_code", sa.Integer),
    )
