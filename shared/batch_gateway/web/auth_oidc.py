"""Authentication by tokens that an identity provider signs (OpenID Connect, JWT).

Its public keys come from its JWKS document. They are fetched when first needed, again after a
while (a key that the provider has withdrawn must not stay good), and when a token names a key that
is not among them: providers rotate keys without notice. Any client can invent tokens, so neither
of them makes us ask the provider more often than once in some seconds. A provider that is away is
no reason to refuse tokens whose key we know.

Only the configured algorithms count, all of them with public keys: neither ``none``, nor a MAC that
takes the published key for its secret. Importing the library takes a while, so this module is only
imported when it is used.
"""

import asyncio
import json
import logging
import time
from collections.abc import Collection, Sequence
from typing import Any

import aiohttp
import jwt
from starlette.datastructures import Headers

from batch_gateway.core.errors import Unavailable
from batch_gateway.core.ids import tenant_id
from batch_gateway.settings import AuthSettings
from batch_gateway.web.bearer import bearer, incorrect, unauthenticated
from batch_gateway.web.identity import Identity, user_of

logger = logging.getLogger(__name__)

TIMEOUT_S = 5.0
FRESH_S = 600.0  # how long a document is used without looking for a newer one
APART_S = 10.0  # least time between two requests to the provider


class ProviderKeys:
    """The signing keys of the document at ``url``."""

    def __init__(self, url: str, *, fresh_s: float = FRESH_S, apart_s: float = APART_S) -> None:
        self._url = url
        self._fresh_s = fresh_s
        self._apart_s = apart_s
        self._keys: Sequence[jwt.PyJWK] | None = None  # None: never fetched
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, kid: str | None) -> jwt.PyJWK | None:
        """The key with this id; without an id the only one. Raises Unavailable."""
        found = self._known(kid)
        if found is not None and time.monotonic() - self._fetched_at < self._fresh_s:
            return found
        async with self._lock:  # those who waited for it find what was fetched
            if time.monotonic() - self._tried_at >= self._apart_s:
                await self._fetch()
        if self._keys is None:
            raise Unavailable("the identity provider does not publish its keys")
        return self._known(kid)

    def _known(self, kid: str | None) -> jwt.PyJWK | None:
        keys = self._keys or ()
        if kid is None:
            return keys[0] if len(keys) == 1 else None
        return next((key for key in keys if key.key_id == kid), None)

    async def _fetch(self) -> None:
        """Replace the keys; a failure leaves them and is only logged."""
        self._tried_at = time.monotonic()
        try:
            document = jwt.PyJWKSet.from_dict(json.loads(await _content(self._url)))
        except (
            *(aiohttp.ClientError, OSError, RecursionError),
            *(jwt.PyJWTError, ValueError, AttributeError, TypeError),
        ) as error:
            logger.warning("No signing keys at %s: %s", self._url, error, extra={"action": "jwks"})
            return
        self._keys = [key for key in document.keys if _for_signatures(key)]
        self._fetched_at = self._tried_at


async def _content(url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
        session.get(url, allow_redirects=False) as answer,
    ):
        if not 200 <= answer.status < 300:
            raise ValueError(f"HTTP status {answer.status}")
        return await answer.read()


class OidcAuthenticator:
    def __init__(
        self,
        keys: ProviderKeys,
        *,
        issuer: str,
        audience: str,
        algorithms: Sequence[str],
        tenant_claim: str,
        leeway_s: float,
        operators: Collection[str] = (),
    ) -> None:
        """``operators``: tenants whose users operate the service."""
        self._operators = frozenset(operators)
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = tuple(algorithms)
        self._tenant_claim = tenant_claim
        self._leeway_s = leeway_s

    async def identify(self, headers: Headers) -> Identity:
        token = bearer(headers)
        try:
            claims = await self._claims(token)
        except jwt.ExpiredSignatureError as error:
            raise unauthenticated("The token has expired.", code="invalid_api_key") from error
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            # All other faults of a token; the response does not name them.
            raise incorrect(token) from error
        name = claims.get(self._tenant_claim)
        tenant = tenant_id(name) if isinstance(name, str) else None
        if tenant is None:
            raise unauthenticated("The token does not say whose it is.", code="invalid_api_key")
        return user_of(tenant, self._operators)

    async def _claims(self, token: str) -> dict[str, Any]:
        """The claims of a verified token. Raises jwt.PyJWTError, ValueError, Unavailable."""
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            raise jwt.InvalidAlgorithmError(f"{algorithm!r} is not allowed")
        key = await self._keys.find(header.get("kid"))
        if key is None or not _fits(key, algorithm):
            raise jwt.InvalidKeyError("no such key, or not for this algorithm")
        return jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            issuer=self._issuer,
            audience=self._audience,
            leeway=self._leeway_s,
            options={"require": ["exp", "iss", "aud"]},
        )


def oidc(settings: AuthSettings) -> OidcAuthenticator:
    """As configured; ``settings`` are complete, which they check themselves."""
    return OidcAuthenticator(
        ProviderKeys(settings.oidc_jwks_url or ""),
        issuer=settings.oidc_issuer or "",
        audience=settings.oidc_audience or "",
        algorithms=settings.oidc_algorithms,
        tenant_claim=settings.oidc_tenant_claim,
        leeway_s=settings.oidc_leeway_s,
        operators=settings.operators,
    )


_FAMILY = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


def _fits(key: jwt.PyJWK, algorithm: str) -> bool:
    return key.key_type == _FAMILY[algorithm[:2]]


def _for_signatures(key: jwt.PyJWK) -> bool:
    return key.public_key_use in (None, "sig")
