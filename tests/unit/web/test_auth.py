from starlette.datastructures import Headers

from batch_gateway.settings import Auth
from batch_gateway.web.auth import authenticator


async def test_nobody_is_asked_who_he_is_when_there_is_no_authenticator():
    everybody = authenticator(Auth(tenant="home"))

    assert await everybody.tenant(Headers({"x-gateway-tenant": "other"})) == "home"


async def test_the_headers_of_the_trusted_gateway_can_be_named():
    trusted = authenticator(
        Auth(
            kind="trusted-header",
            secret="s3cret",
            tenant_header="X-Org",
            secret_header="X-Proof",
        )
    )

    assert await trusted.tenant(Headers({"x-org": "acme", "x-proof": "s3cret"})) == "acme"
