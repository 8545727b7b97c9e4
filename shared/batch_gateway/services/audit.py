"""Writes the audit log."""

import logging
import secrets
from dataclasses import asdict
from datetime import datetime

from batch_gateway import meters
from batch_gateway.core.audit import AuditEntry, AuditOutcome, audit_id
from batch_gateway.core.errors import BatchGatewayError
from batch_gateway.core.ids import TenantId
from batch_gateway.ports.audit import AuditRows
from batch_gateway.ports.clock import Clock

logger = logging.getLogger(__name__)

_LONGEST = 256  # characters of a client's text


class AuditLog:
    def __init__(self, rows: AuditRows, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock

    async def record(
        self,
        action: str,
        outcome: AuditOutcome,
        *,
        tenant: TenantId | None = None,
        api_key: str | None = None,
        operator: bool = False,
        address: str | None = None,
        forwarded_for: str | None = None,
        target: str | None = None,
        status_code: int | None = None,
    ) -> None:
        """Add an entry. What cannot be stored is logged with all its fields and counted: what it
        tells of is done already."""
        now = self._clock.now()
        entry = AuditEntry(
            id=new_id(now),
            at=now,
            action=action,
            outcome=outcome,
            tenant=tenant,
            api_key=api_key,
            operator=operator,
            address=_bounded(address),
            forwarded_for=_bounded(forwarded_for),
            target=_bounded(target),
            status_code=status_code,
        )
        try:
            await self._rows.add(entry)
        except BatchGatewayError as error:
            meters.AUDIT_ENTRIES_LOST.inc()
            logger.error(
                "An entry of the audit log is not stored (%s): %s",
                error,
                {name: str(value) for name, value in asdict(entry).items() if value is not None},
                extra={"action": "audit"},
            )


def new_id(now: datetime) -> str:
    return audit_id(now, secrets.token_bytes(4))


def _bounded(text: str | None) -> str | None:
    """What can be stored and shown of a text that a client may have written."""
    if text is None:
        return None
    return "".join(c if c.isprintable() else "?" for c in text[:_LONGEST]) or None
