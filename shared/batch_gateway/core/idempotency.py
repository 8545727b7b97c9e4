"""Stored claims and responses of requests with an Idempotency-Key.

The claim is written before anything is done, the answer after it. In between ``holder`` owns it
until the claim expires. A retry after a crash continues with the same ``seed``, from which the ids
of created objects derive, so existing objects are found and not created again.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from batch_gateway.core.ids import TenantId

#: How long a key is remembered.
KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    status: int
    content_type: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyClaim:
    id: str  # see ``claim_id``
    seed: str  # random, in hexadecimal: the first claimant's, for good
    holder: str  # who is at it
    held_until: datetime
    created_at: datetime
    fingerprint: str | None = None  # of the request's body; None: not known yet
    answer: StoredResponse | None = None  # None: not done yet


def claim_id(tenant: TenantId, path: str, key: str) -> str:
    """Keys of other tenants, and of other routes, are other keys."""
    return hashlib.sha256(json.dumps([tenant, path, key]).encode()).hexdigest()
