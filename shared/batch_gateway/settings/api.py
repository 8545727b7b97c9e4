"""Settings of the API, authentication and quotas."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from batch_gateway.core.quotas import Quotas
from batch_gateway.settings.base import (
    Count,
    InconsistentSettings,
    Positive,
    Seconds,
    SettingsGroup,
)
from batch_gateway.settings.texts import VALUES

#: Only those with a public key: with a shared secret, each verifier could also sign.
SigningAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]


class ApiSettings(SettingsGroup):
    max_file_bytes: Positive = 200 * 1024 * 1024
    """Largest input file of a batch. OpenAI's limit."""
    max_other_file_bytes: Positive = 512 * 1024 * 1024
    """Largest file of any other purpose. OpenAI's limit."""
    max_upload_bytes: Positive = 8 * 1024**3
    """Largest file that comes in parts (/v1/uploads), except input files of batches. OpenAI's
    limit."""
    max_lines: Positive = 50_000
    """Most lines of an input file. OpenAI's limit."""
    file_expiry_s: Annotated[int, Field(ge=0)] = 30 * 86400
    """Lifetime in seconds of uploaded batch files that name none; 0: for ever. OpenAI's is 30
    days."""
    output_expiry_s: Annotated[int, Field(ge=0)] = 30 * 86400
    """Lifetime in seconds of output and error files of batches that name none; 0: for ever."""
    mode: Literal["extended", "strict"] = "extended"
    """extended: any window, several models in a file; strict: all of OpenAI's refusals too."""
    console: bool = True
    """Whether the web console is served at /console."""
    max_json_bytes: Positive = 16 * 1024 * 1024
    """Largest JSON body of a request to the API."""
    follow_s: Seconds = 540
    """Maximum duration of one results stream (follow=true). Below the platform's request timeout of
    600 s, so that the response ends properly; the client continues with another request."""


class AuthSettings(SettingsGroup):
    kind: Literal["none", "api-key", "oidc", "trusted-header"] = "none"
    """none: all requests belong to one tenant, for the loopback interface only; api-key: keys made
    with `batch-gateway keys`; oidc: tokens of an identity provider; trusted-header: a gateway in
    front names the tenant."""
    tenant: str = "default"
    """The tenant of all requests when kind is none."""
    operators: Annotated[tuple[str, ...], *VALUES] = ()
    """Tenants whose users operate the service, when kind is oidc or trusted-header: see
    docs/tenants.md. With api-key the scopes of a key decide, with none everyone operates it."""
    hosts: Annotated[tuple[str, ...], *VALUES] = ()
    """Host names, besides localhost and IP addresses, that requests may use when kind is none, such
    as that of a tunnel. Other Host headers, and web pages of other origins, are refused."""
    tenant_header: str = "x-gateway-tenant"
    """Header that names the tenant when kind is trusted-header."""
    secret_header: str = "x-gateway-secret"
    """Header with the secret of the gateway in front."""
    secret: SecretStr | None = None
    """Value of that header. Required with trusted-header."""
    oidc_jwks_url: str | None = None
    """URL of the keys of the identity provider. Required with oidc, as are the next two."""
    oidc_issuer: str | None = None
    """Required `iss` claim of tokens."""
    oidc_audience: str | None = None
    """Required value in the `aud` claim of tokens."""
    oidc_algorithms: Annotated[tuple[SigningAlgorithm, ...], *VALUES] = ("RS256", "ES256")
    """Allowed signature algorithms: RS, PS or ES with 256, 384 or 512, or EdDSA."""
    oidc_tenant_claim: str = "sub"
    """The claim of a token that names the tenant."""
    oidc_leeway_s: Annotated[float, Field(ge=0)] = 30
    """Allowed difference between the clocks of the identity provider and of the service."""

    oidc_client_id: str | None = None
    """The console's client id at the identity provider: a public client, which signs in by the code
    flow with PKCE and is sent back to /console/. Without it the user enters a token."""
    oidc_authorization_url: str | None = None
    """The provider's authorization endpoint. Required with oidc_client_id, as is the next one."""
    oidc_token_url: str | None = None
    """The provider's token endpoint, which browsers call (CORS)."""
    oidc_scope: str = "openid"
    """The scopes that the console requests."""
    oidc_console_token: Literal["access_token", "id_token"] = "access_token"
    """The token of the sign-in that the console sends to the API."""

    @model_validator(mode="after")
    def _complete(self) -> "AuthSettings":
        if self.kind == "trusted-header" and not (self.secret and self.secret.get_secret_value()):
            told = "auth.kind trusted-header needs auth.secret"
            raise InconsistentSettings(told, self, "kind", "secret")
        provider = (self.oidc_jwks_url, self.oidc_issuer, self.oidc_audience)
        if self.kind == "oidc" and not (all(provider) and self.oidc_algorithms):
            raise InconsistentSettings(
                "auth.kind oidc needs auth.oidc_jwks_url, oidc_issuer, oidc_audience and at least"
                " one of oidc_algorithms",
                self,
                *("kind", "oidc_jwks_url", "oidc_issuer", "oidc_audience", "oidc_algorithms"),
            )
        if self.oidc_client_id and not (self.oidc_authorization_url and self.oidc_token_url):
            raise InconsistentSettings(
                "auth.oidc_client_id needs auth.oidc_authorization_url and auth.oidc_token_url",
                self,
                *("oidc_client_id", "oidc_authorization_url", "oidc_token_url"),
            )
        return self


class QuotaSettings(SettingsGroup):
    batches_per_hour: Annotated[int, Field(ge=0)] = 2000
    """Most batches that a tenant creates in an hour; 0: any number. OpenAI's limit."""
    uploads_per_minute: Annotated[int, Field(ge=0)] = 600
    """Most files that a tenant begins to upload in a minute; 0: any number."""
    keyed_requests_per_hour: Annotated[int, Field(ge=0)] = 6000
    """Most POSTs with an Idempotency-Key that a tenant makes in an hour, where no other rate holds;
    0: any number. The answer of each is kept for 24 hours."""
    files: Count = 1_000_000
    """Most files that a tenant has at a time, uploaded and produced ones; 0: any number."""
    stored_bytes: Count = 2_500_000_000_000
    """Most bytes of all these files; 0: any number. OpenAI's limit. Results are always stored, so
    they may exceed the quota; then uploads are refused until files are deleted."""
    open_batches: Count = 10_000
    """Most batches of a tenant that have not ended; 0: any number."""
    queued_requests: Count = 50_000_000
    """Most requests of all these batches; 0: any number. A batch that would exceed it fails when it
    is planned, as with OpenAI."""

    @property
    def quotas(self) -> Quotas:
        return Quotas(
            files=self.files,
            stored_bytes=self.stored_bytes,
            open_batches=self.open_batches,
            queued_requests=self.queued_requests,
        )
