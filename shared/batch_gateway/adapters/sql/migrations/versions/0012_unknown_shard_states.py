"""Shards in a state that no release has written, by batch: none where all is well."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

UNKNOWN_STATE = sa.text("state NOT IN ('ready', 'leased', 'closed')")


def upgrade() -> None:
    op.create_index(
        "shards_in_unknown_state",
        "shards",
        ["batch_id"],
        postgresql_where=UNKNOWN_STATE,
        sqlite_where=UNKNOWN_STATE,
    )
