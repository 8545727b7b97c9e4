"""MetadataStore on a SQL database: PostgreSQL in production, SQLite on one machine.

SQLAlchemy's Core only, no ORM: a row is a frozen value (``rows``), a state change is computed from
the locked row (``transitions``) and written back as the columns that differ. ``database`` opens
transactions and translates the drivers' errors, ``dialects`` holds all that differs between the
two databases, ``schema`` the tables and why each index is there.
"""

from batch_gateway.adapters.sql.store import SqlMetadata, open_sql

__all__ = ["SqlMetadata", "open_sql"]
