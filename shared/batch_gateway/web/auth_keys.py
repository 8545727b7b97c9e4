"""Authentication by API keys, which the metadata store keeps as digests.

A key that was found is remembered for some seconds, so that a client that polls costs no query per
request; that is also how long a revoked key may still open the door. Keys that were not found are
not remembered: a new one works at once, and guessing fills no memory.
"""

import logging
from datetime import UTC, datetime, timedelta

from starlette.datastructures import Headers

from batch_gateway.core.api_keys import ApiKey, digest_of
from batch_gateway.core.errors import Temporary
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.metadata import ApiKeyRows
from batch_gateway.web.bearer import bearer, incorrect
from batch_gateway.web.identity import Identity

logger = logging.getLogger(__name__)

REMEMBERED = timedelta(seconds=5)
USES_APART = timedelta(minutes=1)
"""How exactly the last use of a key is known."""
_MOST = 10_000  # remembered keys; more than ever are in use at once


class ApiKeyAuthenticator:
    def __init__(self, keys: ApiKeyRows, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._recorded: dict[str, datetime] = {}  # id -> when its use was recorded
        self._found: dict[str, tuple[ApiKey, datetime]] = {}  # digest -> key, when it was looked up

    async def identify(self, headers: Headers) -> Identity:
        secret = bearer(headers)
        now = self._clock.now()
        key = await self._find(digest_of(secret), now)
        if key is None or not key.valid(now):
            raise incorrect(secret)
        await self._record_use(key, now)
        return Identity(tenant=key.tenant, api_key=key.id, scopes=key.scopes)

    async def _record_use(self, key: ApiKey, now: datetime) -> None:
        """At most once a minute for each key, so that a client that polls costs no writes.

        A database that is unavailable does not keep a known key from being used.
        """
        if now - self._recorded.get(key.id, datetime.min.replace(tzinfo=UTC)) < USES_APART:
            return
        if len(self._recorded) >= _MOST:
            self._recorded.clear()
        self._recorded[key.id] = now
        try:
            await self._keys.used(key.id, now=now, apart=USES_APART)
        except Temporary as error:
            logger.warning("A key's use is not recorded: %s", error, extra={"action": "key_used"})

    async def _find(self, digest: str, now: datetime) -> ApiKey | None:
        known = self._found.get(digest)
        if known is not None and now - known[1] < REMEMBERED:
            return known[0]
        found = await self._keys.find(digest)
        if found is None:
            return None
        if len(self._found) >= _MOST:
            self._found.clear()
        self._found[digest] = (found, now)
        return found
