"""The audit log: who did what to what, when, from where, and with which outcome.

Entries have no bodies, no headers and no secrets.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from batch_gateway.core.ids import TenantId


class AuditOutcome(StrEnum):
    OK = "ok"
    REFUSED = "refused"  # the request was wrong or not allowed (4xx)
    FAILED = "failed"  # the service could not do it (5xx)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    id: str  # audit_...; ordered by time
    at: datetime
    action: str  # such as batch.create
    outcome: AuditOutcome
    tenant: TenantId | None = None  # None: done by an operator at the database, for no tenant
    api_key: str | None = None  # id of the key; None: not by an API key
    operator: bool = False  # done with the rights of an operator
    address: str | None = None  # of the client; None: done at the database
    forwarded_for: str | None = None  # X-Forwarded-For, as the client or a proxy wrote it
    target: str | None = None  # id of what was changed; None: there is none
    status_code: int | None = None  # of the answer; None: not by HTTP


def audit_id(at: datetime, random: bytes) -> str:
    """``audit_``, the microseconds in 20 digits, and 8 hex digits from 4 random bytes."""
    return f"audit_{round(at.timestamp() * 1_000_000):020d}{random[:4].hex()}"


def outcome_of(status: int) -> AuditOutcome:
    if status < 400:
        return AuditOutcome.OK
    return AuditOutcome.REFUSED if status < 500 else AuditOutcome.FAILED
