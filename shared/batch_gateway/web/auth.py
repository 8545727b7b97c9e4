"""Authenticators: each maps the headers of a request to a tenant.

Which one is used is a matter of configuration. All of them answer with OpenAI's own 401 bodies, so
clients understand them.
"""

import hmac
import ipaddress
from collections.abc import Collection
from typing import Protocol
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from batch_gateway.core.excerpts import excerpt
from batch_gateway.core.ids import TenantId, tenant_id
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.metadata import ApiKeyRows
from batch_gateway.settings import AuthSettings
from batch_gateway.web.bearer import unauthenticated
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.identity import Identity, everything, user_of


class Authenticator(Protocol):
    async def identify(self, headers: Headers) -> Identity:
        """The identity of the caller. Raises ApiError with status 401."""
        ...


class SingleTenantAuthenticator:
    """All requests are one tenant's."""

    def __init__(self, tenant: TenantId) -> None:
        self._tenant = tenant

    async def identify(self, headers: Headers) -> Identity:  # noqa: ARG002 - none matters
        return everything(self._tenant)


class LoopbackAuthenticator:
    """All requests of this machine's users are one tenant's; those of web pages are refused.

    Every page that a user visits can send requests to the loopback interface: forms and simple
    requests to any address, and any request after DNS rebinding, under the page's own name. The
    first ones name another Origin, the second ones another Host.
    """

    def __init__(self, tenant: TenantId, hosts: Collection[str] = ()) -> None:
        """``hosts``: names by which the service may be called beside localhost and addresses."""
        self._tenant = tenant
        self._hosts = frozenset(host.lower() for host in hosts)

    async def identify(self, headers: Headers) -> Identity:
        """Raises ApiError with status 403."""
        self.refuse_web_pages(headers)
        return everything(self._tenant)

    def refuse_web_pages(self, headers: Headers) -> None:
        """Raises ApiError with status 403."""
        host = headers.get("host")
        if host is not None and not self._known(host):
            raise ApiError(
                403,
                f"Without an authenticator the service is not called '{excerpt(host)}': call "
                "localhost, or name the host in the setting auth.hosts.",
                code="host_not_allowed",
            )
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2].lower() != (host or "").lower()
        if foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise ApiError(
                403,
                "Without an authenticator web pages of other origins may not use the service.",
                code="origin_not_allowed",
            )

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        name = name.removesuffix(".")
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class TrustedHeaderAuthenticator:
    """A gateway in front authenticates, names the tenant, and proves itself by a secret."""

    def __init__(
        self,
        *,
        tenant_header: str,
        secret_header: str,
        secret: str,
        operators: Collection[str] = (),
    ) -> None:
        """``operators``: tenants whose users operate the service."""
        self._operators = frozenset(operators)
        self._tenant_header = tenant_header
        self._secret_header = secret_header
        self._secret = secret.encode()

    async def identify(self, headers: Headers) -> Identity:
        given = headers.get(self._secret_header)
        if given is None:
            raise unauthenticated("You didn't provide an API key.", code=None)
        # Headers are bytes, decoded as latin-1.
        if not hmac.compare_digest(given.encode("latin-1"), self._secret):
            raise unauthenticated("Incorrect API key provided.", code="invalid_api_key")
        tenant = tenant_id(headers.get(self._tenant_header, ""))
        if tenant is None:
            raise unauthenticated("The request does not say whose it is.", code=None)
        return user_of(tenant, self._operators)


def authenticator(settings: AuthSettings, keys: ApiKeyRows, clock: Clock) -> Authenticator:
    """The one that is configured; what the others need is not imported."""
    match settings.kind:
        case "api-key":
            from batch_gateway.web.auth_keys import ApiKeyAuthenticator

            return ApiKeyAuthenticator(keys, clock)
        case "oidc":
            from batch_gateway.web.auth_oidc import oidc

            return oidc(settings)
        case "trusted-header":
            return TrustedHeaderAuthenticator(
                tenant_header=settings.tenant_header,
                secret_header=settings.secret_header,
                secret=settings.secret.get_secret_value() if settings.secret else "",
                operators=settings.operators,
            )
    return LoopbackAuthenticator(TenantId(settings.tenant), settings.hosts)
