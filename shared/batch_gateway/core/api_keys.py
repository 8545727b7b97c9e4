"""API keys: a key authenticates requests of one tenant.

A key's secret is 256 random bits, so it cannot be guessed and a single sha256 hides it: the slow
hashes that passwords need would only slow requests down. The secret is shown once, at creation;
what is stored can be compared with, but not used. Looking a key up by the digest of what a client
presents also leaks no time: a nearly equal digest gives no information about the secret.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime

from batch_gateway.core.ids import TenantId
from batch_gateway.core.scopes import DEFAULT_SCOPES, AccessScope

SECRET_BYTES = 32
_SHOWN = 8  # characters of a wrong key that its error message repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    id: str  # key_...; not secret
    tenant: TenantId
    name: str  # for people: whose or what for
    digest: str  # see ``digest_of``
    created_at: datetime
    expires_at: datetime | None = None  # None: never
    revoked_at: datetime | None = None  # None: not revoked
    scopes: frozenset[AccessScope] = DEFAULT_SCOPES
    last_used_at: datetime | None = None  # within a minute; None: never used

    def valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def api_key_secret(random: bytes) -> str:
    """A key's secret, from ``SECRET_BYTES`` random bytes."""
    return f"sk-bg-{base64.urlsafe_b64encode(random[:SECRET_BYTES]).rstrip(b'=').decode()}"


def api_key_id(random: bytes) -> str:
    """``key_`` and 16 hex digits, from 8 random bytes."""
    return f"key_{random[:8].hex()}"


def digest_of(secret: str) -> str:
    """sha256 in hex of a secret, or of whatever a client presents as one."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def masked(secret: str) -> str:
    """Its beginning, so that its owner can tell which one was wrong; never more than half."""
    return f"{secret[: min(_SHOWN, len(secret) // 2)]}***"
