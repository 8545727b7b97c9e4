"""The tables, and the query that each index serves.

Instants are whole microseconds since 1970 in a BIGINT: integers compare alike on both databases,
where SQLite's own dates are text and PostgreSQL's carry a zone.

The migrations make the tables; a test holds them equal to what is described here. Partial indexes
and the queries that they serve share one predicate, written as literal SQL, because a database only
uses such an index for a query that visibly implies it (a bound parameter does not).
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from batch_gateway.core.usage import AMOUNTS

#: The newest migration: what ``check`` expects to find.
REVISION = "0012"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UndecodableValue:
    """Stands for a stored value that is not of its column's type.

    Raising instead would end the whole result that the row is part of.
    """


class UtcTimestamp(TypeDecorator[datetime]):
    """An aware datetime as whole microseconds since 1970."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: sa.Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def result_processor(self, *_: object) -> Callable[[int | None], datetime | None]:
        """The only step: a row of a batch has ten instants, and a list a hundred rows."""
        return _instant


def _instant(value: int | None) -> datetime | None:
    if value is None:
        return None
    try:
        return _EPOCH + timedelta(0, 0, value)
    except (OverflowError, TypeError):
        return UndecodableValue()  # type: ignore[return-value]  # for the row's decoder to refuse


def _column(name: str, type_: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=False, **options)


def _optional(name: str, type_: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=True)


def _tokens(column: Callable[[str, Any], sa.Column[Any]]) -> list[sa.Column[Any]]:
    """What the answers of a batch or a shard have used."""
    names = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
    return [column(name, sa.BigInteger) for name in names]


def _index(name: str, *columns: str, where: sa.TextClause | None = None) -> sa.Index:
    """Told as information, because the tables are not made from here: SQLAlchemy's own options
    would load both dialects, a twentieth of a function's start."""
    return sa.Index(name, *columns, info={"where": where})


# Predicates of sweeps
# (coalesce keeps SQLite, which guesses without statistics, from the index by status.)
DEADLINE_RUNS = sa.text("ending IS NULL AND coalesce(status, '') IN ('validating', 'in_progress')")
WAITS_FOR_FENCE = sa.text("ending IS NOT NULL AND open_shards > 0")
STRANDED = sa.text("status = 'in_progress' AND open_shards = 0")
UNSWEPT = sa.text("unswept")
OUTLIVED = sa.text("status IN ('completed', 'failed', 'expired', 'cancelled') AND NOT unswept")
EXPIRES = sa.text("expires_at IS NOT NULL")
READY = sa.text("state = 'ready'")
LEASED = sa.text("state = 'leased'")
UNKNOWN_STATE = sa.text("state NOT IN ('ready', 'leased', 'closed')")
PENDING = sa.text("state = 'pending'")

metadata = sa.MetaData()

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    _column("files", sa.BigInteger),
    _column("stored_bytes", sa.BigInteger),
    _column("open_batches", sa.BigInteger),
    _column("queued_requests", sa.BigInteger),
)

files = sa.Table(
    "files",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _column("tenant", sa.Text),
    _column("purpose", sa.Text),
    _column("filename", sa.Text),
    _column("size", sa.BigInteger),
    _optional("lines", sa.BigInteger),
    _column("sha256", sa.Text),
    _column("key", sa.Text),
    _column("created_at", UtcTimestamp),
    _optional("expires_at", UtcTimestamp),
    _index("files_of_tenant", "tenant", "created_at", "id"),
    _index("files_of_purpose", "tenant", "purpose", "created_at", "id"),
    _index("files_by_expiry", "expires_at", "id", where=EXPIRES),
)

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _column("tenant", sa.Text),
    _column("status", sa.Text),
    _column("purpose", sa.Text),
    _column("filename", sa.Text),
    _column("size", sa.BigInteger),
    _column("created_at", UtcTimestamp),
    _column("expires_at", UtcTimestamp),
    _optional("file_lifetime_s", sa.BigInteger),
    _optional("file_id", sa.Text),
    _optional("receipt", sa.Text),
    _column("parts", sa.Integer),  # how many parts were added, and their bytes
    _column("stored", sa.BigInteger),
    _index("uploads_by_expiry", "expires_at", "id"),
)

upload_parts = sa.Table(
    "upload_parts",
    metadata,
    sa.Column("upload_id", sa.Text, sa.ForeignKey("uploads.id"), primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    _column("size", sa.BigInteger),
    _column("created_at", UtcTimestamp),
)

batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _column("tenant", sa.Text),
    _column("status", sa.Text),
    _column("status_since", UtcTimestamp),
    _column("endpoint", sa.Text),
    _column("input_file_id", sa.Text),
    _column("completion_window", sa.Text),
    _column("deadline", UtcTimestamp),
    _column("created_at", UtcTimestamp),
    _optional("metadata", sa.JSON(none_as_null=True)),
    _optional("output_expires_after_s", sa.BigInteger),
    _column("priority", sa.Integer),
    _column("paused", sa.Boolean),
    _optional("model", sa.Text),
    _optional("ending", sa.Text),
    _optional("fence_at", UtcTimestamp),
    _column("open_shards", sa.Integer),
    _column("total", sa.BigInteger),
    _column("completed", sa.BigInteger),
    _column("failed", sa.BigInteger),
    *_tokens(_optional),  # all are null: no line was answered yet
    _column("errors", sa.JSON),
    _optional("output_file_id", sa.Text),
    _optional("error_file_id", sa.Text),
    _optional("traceparent", sa.Text),
    _optional("api_key", sa.Text),
    _optional("sealed", sa.Text),
    _column("options", sa.JSON),
    _optional("in_progress_at", UtcTimestamp),
    _optional("finalizing_at", UtcTimestamp),
    _optional("completed_at", UtcTimestamp),
    _optional("failed_at", UtcTimestamp),
    _optional("expired_at", UtcTimestamp),
    _optional("cancelling_at", UtcTimestamp),
    _optional("cancelled_at", UtcTimestamp),
    _optional("assembler", sa.Text),  # the holder of the assembly lease, and its expiry
    _optional("assembler_until", UtcTimestamp),
    _column("unswept", sa.Boolean),  # ended, but its work objects are not deleted yet
    _index("batches_of_tenant", "tenant", "created_at", "id"),
    _index("batches_by_creation", "created_at", "id"),
    _index("batches_by_status", "status", "status_since", "id"),
    _index("batches_by_deadline", "deadline", "id", where=DEADLINE_RUNS),
    _index("batches_by_fence", "fence_at", "id", where=WAITS_FOR_FENCE),
    _index("batches_stranded", "status_since", "id", where=STRANDED),
    _index("batches_unswept", "status_since", "id", where=UNSWEPT),
    _index("batches_outlived", "status_since", "id", where=OUTLIVED),
)

shards = sa.Table(
    "shards",
    metadata,
    sa.Column("batch_id", sa.Text, sa.ForeignKey("batches.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    _column("model", sa.Text),
    _column("key", sa.Text),
    _column("lines", sa.Integer),
    _column("cost", sa.BigInteger),
    _column("state", sa.Text),
    _column("epoch", sa.Integer),
    _column("token", sa.Text),
    _optional("holder", sa.Text),
    _optional("leased_at", UtcTimestamp),
    _column("parts", sa.JSON),
    _column("completed", sa.BigInteger),
    _column("failed", sa.BigInteger),
    *_tokens(_column),
    sa.Column("statistics", sa.Text, nullable=False, server_default=""),
    _index("shards_ready", "batch_id", "position", where=READY),
    _index("shards_leased", "leased_at", "batch_id", "position", where=LEASED),
    _index("shards_in_unknown_state", "batch_id", where=UNKNOWN_STATE),
)

batch_summaries = sa.Table(
    "batch_summaries",
    metadata,
    sa.Column("batch_id", sa.Text, sa.ForeignKey("batches.id"), primary_key=True),
    _column("summary", sa.Text),
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("api_key", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    *(_column(name, sa.BigInteger) for name in AMOUNTS),
    _index("usage_of_tenant", "tenant", "day"),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _column("type", sa.Text),
    _column("subject", sa.Text),
    _column("data", sa.JSON),
    _optional("time", UtcTimestamp),
    _optional("traceparent", sa.Text),
    _column("created_at", UtcTimestamp),
    _index("outbox_by_age", "created_at", "id"),
)

causes = sa.Table(
    "causes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),  # made of an event's source and id
    _column("batch", sa.Text),
    _column("created_at", UtcTimestamp),
    _index("causes_by_age", "created_at", "id"),
)

dead_letters = sa.Table(
    "dead_letters",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _column("attributes", sa.JSON),
    _column("data", sa.LargeBinary),
    _column("target", sa.Text),
    _column("code", sa.Text),
    _column("reason", sa.Text),
    _column("died_at", UtcTimestamp),
    _index("dead_letters_by_age", "died_at", "id"),
)

webhook_endpoints = sa.Table(
    "webhook_endpoints",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _column("tenant", sa.Text),
    _column("name", sa.Text),
    _column("url", sa.Text),
    _column("event_types", sa.JSON),
    _column("secret", sa.Text),
    _column("hint", sa.Text),
    _column("created_at", UtcTimestamp),
    _column("updated_at", UtcTimestamp),
    _optional("old_secret", sa.Text),
    _optional("old_secret_until", UtcTimestamp),
    _optional("failing_since", UtcTimestamp),
    _optional("disabled_at", UtcTimestamp),
    _index("webhook_endpoints_of_tenant", "tenant", "created_at", "id"),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _column("tenant", sa.Text),
    sa.Column("endpoint", sa.Text, sa.ForeignKey("webhook_endpoints.id"), nullable=False),
    _column("event_type", sa.Text),
    _column("batch", sa.Text),
    _column("happened_at", UtcTimestamp),
    _column("created_at", UtcTimestamp),
    _column("state", sa.Text),
    _optional("due_at", UtcTimestamp),
    _column("attempts", sa.Integer),
    _optional("attempted_at", UtcTimestamp),
    _optional("status_code", sa.Integer),
    _optional("error", sa.Text),
    _index("webhook_deliveries_due", "due_at", "id", where=PENDING),
    _index("webhook_deliveries_of_endpoint", "endpoint", "created_at", "id"),
    _index("webhook_deliveries_by_age", "created_at", "id"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _column("tenant", sa.Text),
    _column("name", sa.Text),
    _column("digest", sa.Text),
    _column("created_at", UtcTimestamp),
    _optional("expires_at", UtcTimestamp),
    _optional("revoked_at", UtcTimestamp),
    _optional("scopes", sa.JSON(none_as_null=True)),  # null: made before keys had scopes
    _optional("last_used_at", UtcTimestamp),
    sa.Index("api_keys_by_digest", "digest", unique=True),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),  # ordered by time
    _column("at", UtcTimestamp),
    _column("action", sa.Text),
    _column("outcome", sa.Text),
    _optional("tenant", sa.Text),
    _optional("api_key", sa.Text),
    _column("operator", sa.Boolean),
    _optional("address", sa.Text),
    _optional("forwarded_for", sa.Text),
    _optional("target", sa.Text),
    _optional("status_code", sa.Integer),
)

claims = sa.Table(
    "claims",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _column("seed", sa.Text),
    _column("holder", sa.Text),
    _column("held_until", UtcTimestamp),
    _column("created_at", UtcTimestamp),
    _optional("fingerprint", sa.Text),
    _optional("status", sa.Integer),  # this and the rest: the answer
    _optional("content_type", sa.Text),
    _optional("body", sa.Text),
    _index("claims_by_age", "created_at", "id"),
)
