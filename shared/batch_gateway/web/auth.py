"""Who asks: each authenticator turns a request's headers into a tenant.

Which one is used is a matter of configuration. All of them answer with OpenAI's own 401 bodies, so
clients understand them.
"""

import hmac
from typing import Protocol

from starlette.datastructures import Headers

from batch_gateway.core.ids import TenantId, tenant_id
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.metadata import ApiKeyRows
from batch_gateway.settings import Auth
from batch_gateway.web.bearer import unauthenticated


class Authenticator(Protocol):
    async def tenant(self, headers: Headers) -> TenantId:
        """The tenant that the request is made for. Raises ApiError with status 401."""
        ...


class Everybody:
    """All requests are one tenant's: for the loopback interface only."""

    def __init__(self, tenant: TenantId) -> None:
        self._tenant = tenant

    async def tenant(self, headers: Headers) -> TenantId:  # noqa: ARG002 - none matters
        return self._tenant


class TrustedHeader:
    """A gateway in front authenticates, names the tenant, and proves itself by a secret."""

    def __init__(self, *, tenant_header: str, secret_header: str, secret: str) -> None:
        self._tenant_header = tenant_header
        self._secret_header = secret_header
        self._secret = secret.encode()

    async def tenant(self, headers: Headers) -> TenantId:
        given = headers.get(self._secret_header)
        if given is None:
            raise unauthenticated("You didn't provide an API key.", code=None)
        # Headers are bytes, decoded as latin-1.
        if not hmac.compare_digest(given.encode("latin-1"), self._secret):
            raise unauthenticated("Incorrect API key provided.", code="invalid_api_key")
        tenant = tenant_id(headers.get(self._tenant_header, ""))
        if tenant is None:
            raise unauthenticated("The request does not say whose it is.", code=None)
        return tenant


def authenticator(settings: Auth, keys: ApiKeyRows, clock: Clock) -> Authenticator:
    """The one that is configured; what the others need is not imported."""
    match settings.kind:
        case "api-key":
            from batch_gateway.web.auth_keys import ApiKeys

            return ApiKeys(keys, clock)
        case "oidc":
            from batch_gateway.web.auth_oidc import oidc

            return oidc(settings)
        case "trusted-header":
            return TrustedHeader(
                tenant_header=settings.tenant_header,
                secret_header=settings.secret_header,
                secret=settings.secret.get_secret_value() if settings.secret else "",
            )
    return Everybody(TenantId(settings.tenant))
