import pytest
from pydantic import ValidationError
from starlette.datastructures import Headers

from batch_gateway.settings import AuthSettings
from batch_gateway.web.auth import authenticator


def _authenticator(**settings):
    """One that needs neither keys nor a clock."""
    return authenticator(AuthSettings(**settings), keys=None, clock=None)


async def test_nobody_is_asked_who_he_is_when_there_is_no_authenticator():
    everybody = _authenticator(tenant="home")

    identity = await everybody.identify(Headers({"x-gateway-tenant": "other"}))

    assert identity.tenant == "home"
    assert identity.operates


async def test_the_headers_of_the_trusted_gateway_can_be_named():
    trusted = _authenticator(
        kind="trusted-header",
        secret="s3cret",
        tenant_header="X-Org",
        secret_header="X-Proof",
    )

    identity = await trusted.identify(Headers({"x-org": "acme", "x-proof": "s3cret"}))

    assert identity.tenant == "acme"
    assert not identity.operates


async def test_users_of_the_configured_tenants_operate_the_service():
    trusted = _authenticator(
        kind="trusted-header",
        secret="s3cret",
        tenant_header="X-Org",
        secret_header="X-Proof",
        operators=("platform",),
    )

    identity = await trusted.identify(Headers({"x-org": "platform", "x-proof": "s3cret"}))

    assert identity.operates


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "trusted-header"},
        {"kind": "oidc"},
        {"kind": "oidc", "oidc_jwks_url": "http://idp/keys", "oidc_issuer": "http://idp"},
        {"oidc_algorithms": ("none",)},
        {"oidc_algorithms": ("HS256",)},
    ],
    ids=str,
)
def test_an_authenticator_that_would_let_anybody_in_cannot_be_configured(settings):
    with pytest.raises(ValidationError):
        AuthSettings(**settings)
