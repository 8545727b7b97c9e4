"""Tokens of an identity provider, which is a real server that publishes real keys."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from contextlib import asynccontextmanager

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.datastructures import Headers

from batch_gateway.core.errors import Unavailable
from batch_gateway.web.auth_oidc import OidcAuthenticator, ProviderKeys
from batch_gateway.web.envelope import ApiError

ISSUER, AUDIENCE = "https://idp.example", "batches"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
STRANGERS_KEY = ec.generate_private_key(ec.SECP256R1())


class Provider:
    """Serves a JWKS document over HTTP and counts who asks for it."""

    def __init__(self) -> None:
        self.keys = []
        self.asked = 0
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        self.url = ""

    def publish(self, *keys) -> None:
        """``keys`` as (kid, private key)."""
        self.keys = [
            json.loads(algorithm.to_jwk(key.public_key())) | {"kid": kid, "use": "sig"}
            for kid, key in keys
            for algorithm in [jwt.get_algorithm_by_name(_algorithm(key))]
        ]

    async def serve(self, reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = json.dumps({"keys": self.keys}).encode()
        writer.write(self.answer + b"content-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()


def _algorithm(key) -> str:
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


@asynccontextmanager
async def _serving(provider: Provider):
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    async with server:
        yield provider


@pytest.fixture
async def provider():
    async with _serving(Provider()) as provider:
        provider.publish(("rsa", RSA_KEY), ("ec", EC_KEY))
        yield provider


def oidc(provider, *, fresh_s: float = 600, apart_s: float = 0, **changes) -> OidcAuthenticator:
    fields = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ("RS256", "ES256"),
        "tenant_claim": "org",
        "leeway_s": 0,
    }
    keys = ProviderKeys(provider.url, fresh_s=fresh_s, apart_s=apart_s)
    return OidcAuthenticator(keys, **(fields | changes))


def token(key=EC_KEY, kid: str | None = "ec", algorithm: str | None = None, **changes) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 60, "org": "acme"} | changes
    headers = {} if kid is None else {"kid": kid}
    given = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(given, key, algorithm or _algorithm(key), headers=headers)


def unsafe(header: dict, claims: bytes, sign) -> str:
    """A token that the library refuses to make."""
    encode = lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=")  # noqa: E731
    signed = encode(json.dumps(header).encode()) + b"." + encode(claims)
    return (signed + b"." + encode(sign(signed))).decode()


async def tenant_of(authenticator: OidcAuthenticator, given: str) -> str:
    identity = await authenticator.identify(Headers({"authorization": f"Bearer {given}"}))
    return identity.tenant


async def refused(authenticator: OidcAuthenticator, given: str) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        await tenant_of(authenticator, given)
    assert (refusal.value.status, refusal.value.code) == (401, "invalid_api_key")
    return refusal.value


async def test_the_configured_claim_of_a_good_token_names_the_tenant(provider):
    authenticator = oidc(provider)

    assert await tenant_of(authenticator, token()) == "acme"
    assert await tenant_of(authenticator, token(RSA_KEY, "rsa", aud=["x", AUDIENCE])) == "acme"
    assert await tenant_of(oidc(provider, tenant_claim="sub"), token(sub="u-1")) == "u-1"
    assert provider.asked == 2  # each authenticator once


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1_000_000_000},
        {"exp": None},
        {"nbf": 9_000_000_000},
        {"aud": "another-service"},
        {"aud": None},
        {"iss": "https://another.example"},
        {"iss": None},
        {"org": None},
        {"org": 7},
        {"org": "two words"},
        {"kid": "unknown"},
        {"kid": None},
        {"kid": "rsa"},
        pytest.param({"key": STRANGERS_KEY}, id="a stranger's key"),
    ],
    ids=str,
)
async def test_a_token_that_is_wrong_in_any_way_is_refused(provider, changes):
    await refused(oidc(provider), token(**changes))


@pytest.mark.parametrize("given", ["x", "a.b.c", "e30.e30.", "." * 5, "é.é.é", "W10.e30.x"])
async def test_what_is_no_token_is_refused(provider, given):
    await refused(oidc(provider), given)


async def test_a_token_within_the_leeway_is_good(provider):
    late = token(exp=int(time.time()) - 30)

    assert await tenant_of(oidc(provider, leeway_s=60), late) == "acme"
    assert "expired" in (await refused(oidc(provider), late)).message


async def test_neither_no_signature_nor_one_by_the_public_key_is_taken(provider):
    claims = json.dumps(
        {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 60, "org": "acme"}
    ).encode()
    public = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = unsafe({"alg": "none", "kid": "rsa"}, claims, lambda _: b"")
    confused = unsafe(
        {"alg": "HS256", "kid": "rsa"},
        claims,
        lambda signed: hmac.digest(public, signed, hashlib.sha256),
    )

    for forged in (unsigned, confused):
        await refused(oidc(provider), forged)
    await refused(oidc(provider, algorithms=("ES256",)), token(RSA_KEY, "rsa"))


async def test_a_token_without_a_key_id_is_good_while_there_is_only_one_key(provider):
    provider.publish(("ec", EC_KEY))

    assert await tenant_of(oidc(provider), token(kid=None)) == "acme"


async def test_a_rotated_key_is_found_and_a_withdrawn_one_stays_good_no_longer(provider):
    lasting, brief = oidc(provider), oidc(provider, fresh_s=0)
    for authenticator in (lasting, brief):
        await tenant_of(authenticator, token())

    provider.publish(("new", STRANGERS_KEY))

    fresh = token(STRANGERS_KEY, "new")
    assert await tenant_of(lasting, fresh) == "acme"
    await refused(lasting, token())
    await refused(brief, token())


async def test_made_up_key_ids_do_not_make_us_ask_the_provider_each_time(provider):
    authenticator = oidc(provider, apart_s=3600)

    for number in range(5):
        await refused(authenticator, token(kid=f"made-up-{number}"))

    assert provider.asked == 1


async def test_requests_that_come_together_fetch_the_keys_once(provider):
    authenticator = oidc(provider, apart_s=3600)

    tenants = await asyncio.gather(*(tenant_of(authenticator, token()) for _ in range(20)))

    assert (set(tenants), provider.asked) == ({"acme"}, 1)


async def test_a_provider_that_is_away_is_no_fault_of_the_token(provider):
    knows, does_not = oidc(provider, fresh_s=0), oidc(provider)
    await tenant_of(knows, token())

    provider.answer = b"HTTP/1.1 500 Oops\r\n"

    assert await tenant_of(knows, token()) == "acme"
    with pytest.raises(Unavailable):
        await tenant_of(does_not, token())
