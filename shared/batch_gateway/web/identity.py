"""The identity of the caller of a request."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from batch_gateway.core.ids import TenantId
from batch_gateway.core.scopes import ALL_SCOPES, DEFAULT_SCOPES, AccessScope
from batch_gateway.web.envelope import ApiError


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    tenant: TenantId
    api_key: str | None = None  # its id; None: not by an API key
    scopes: frozenset[AccessScope] = DEFAULT_SCOPES

    @property
    def operates(self) -> bool:
        return AccessScope.OPERATE in self.scopes

    def demand(self, scopes: Sequence[AccessScope]) -> None:
        """Raises ApiError with status 403 without one of the scopes; none given: any will do."""
        if scopes and not self.scopes.intersection(scopes):
            raise ApiError(
                403,
                "You have insufficient permissions for this operation. Missing scope: "
                f"{' or '.join(scopes)}.",
                code="insufficient_scope",
            )


def scopes_of(method: str, path: str) -> Sequence[AccessScope]:
    """The scopes one of which a request needs; none: any will do."""
    if path == "/v1/session":
        return ()
    if path.startswith("/v1/admin/"):
        return (AccessScope.OPERATE,)
    if path == "/v1/usage":  # a tenant's own, or that of all tenants
        return (AccessScope.READ, AccessScope.OPERATE)
    return (AccessScope.READ,) if method in ("GET", "HEAD") else (AccessScope.SUBMIT,)


def everything(tenant: TenantId) -> Identity:
    """One that may do everything."""
    return Identity(tenant=tenant, scopes=ALL_SCOPES)


def user_of(tenant: TenantId, operators: Collection[str]) -> Identity:
    """A user of ``tenant`` who may operate the service if the tenant is among ``operators``."""
    return everything(tenant) if tenant in operators else Identity(tenant=tenant)
