"""SQL conditions of the filters of listings.

The instants narrow the range of the index that the listing reads; the rest is judged row by row,
in the index's order, until the page is full.
"""

from collections.abc import Iterator

import sqlalchemy as sa

from batch_gateway.adapters.sql.schema import batches
from batch_gateway.ports.batches import BatchFilter

_PAIRS = {"sqlite": sa.func.json_each, "postgresql": sa.func.json_each_text}


def admitted(only: BatchFilter, dialect: sa.Dialect) -> Iterator[sa.ColumnElement[bool]]:
    """What a row must meet."""
    if only.since is not None:
        yield batches.c.created_at >= only.since
    if only.before is not None:
        yield batches.c.created_at < only.before
    if only.status is not None:
        yield batches.c.status == only.status
    if only.model is not None:
        yield batches.c.model == only.model
    for key, value in only.metadata.items():
        pair = _PAIRS[dialect.name](batches.c.metadata).table_valued("key", "value")
        yield sa.exists(
            sa.select(sa.literal(1))
            .select_from(pair)
            .where(pair.c.key == key, pair.c.value == value)
        )
