"""Rows of the audit log. They are added and, after their retention, deleted; never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from batch_gateway.core.audit import AuditEntry
from batch_gateway.core.ids import TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries to list: those that meet all that is given."""

    tenant: TenantId | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None  # at that time or later
    before: datetime | None = None  # earlier

    def admits(self, entry: AuditEntry) -> bool:
        return (
            self.tenant in (None, entry.tenant)
            and self.action in (None, entry.action)
            and self.target in (None, entry.target)
            and (self.since is None or entry.at >= self.since)
            and (self.before is None or entry.at < self.before)
        )


ALL_ENTRIES = AuditFilter()


class AuditRows(Protocol):
    async def add(self, entry: AuditEntry) -> None: ...

    async def list(
        self, *, limit: int, after: str | None = None, only: AuditFilter = ALL_ENTRIES
    ) -> Sequence[AuditEntry]:
        """The newest first; ``after`` continues behind the entry with that id."""
        ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` entries from before ``before``; return how many."""
        ...
