"""Batches of all tenants by creation, for the listing of operators."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_index("batches_by_creation", "batches", ["created_at", "id"])
