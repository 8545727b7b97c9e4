"""Headers that calls of a batch carry on, sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("batches", sa.Column("sealed", sa.Text(), nullable=True))
