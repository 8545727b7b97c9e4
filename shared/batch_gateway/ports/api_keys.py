"""Rows of API keys, and of requests that carry an Idempotency-Key."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from batch_gateway.core.api_keys import ApiKey
from batch_gateway.core.idempotency import IdempotencyClaim, StoredResponse
from batch_gateway.core.ids import TenantId


class ApiKeyRows(Protocol):
    async def add(self, key: ApiKey) -> None:
        """Raises Conflict when the id or the digest is taken."""
        ...

    async def find(self, digest: str) -> ApiKey | None:
        """The key with this digest, also when it is revoked or has expired."""
        ...

    async def list(self, tenant: TenantId | None = None) -> Sequence[ApiKey]:
        """All keys, or one tenant's, by creation (ties by id)."""
        ...

    async def revoke(self, key: str, *, now: datetime) -> ApiKey | None:
        """End the key with this id for good; one that was revoked before keeps its time.

        None when there is none.
        """
        ...

    async def used(self, key: str, *, now: datetime, apart: timedelta) -> None:
        """Record that the key is used ``now``, unless a use at most ``apart`` ago is recorded."""
        ...


class IdempotencyClaimRows(Protocol):
    """Requests that carry an Idempotency-Key."""

    async def claim(self, wanted: IdempotencyClaim) -> IdempotencyClaim:
        """Store the claim, or return the existing one; the caller owns it if ``holder`` is its own.

        A caller gets a claim that does not exist yet, or one that expired before
        ``wanted.created_at`` without an answer. An expired one keeps its seed, its age, and its
        fingerprint if it is known.
        """
        ...

    async def answer(
        self, claim: str, holder: str, fingerprint: str, answer: StoredResponse
    ) -> bool:
        """Record what was answered. False when the claim is another's by now."""
        ...

    async def release(self, claim: str, holder: str, *, now: datetime, refused: bool) -> None:
        """Release an unanswered claim to the next caller; ``refused``: with any body."""
        ...

    async def withdraw(self, claim: str, holder: str) -> None:
        """Delete an unanswered claim, seed and all; nothing happens when it is another's by now.

        Only for a claim that had no holder before: nothing was done under its seed.
        """
        ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` claims that were made before ``before``; return how many."""
        ...
