"""All settings, grouped by concern; read once, in ``wiring``, and handed on group by group.

Every field is an environment variable ``BATCH_GATEWAY_<GROUP>__<FIELD>`` and, with the embedded
platform, a key of the configuration file. Each field's docstring says its unit, what None means
and why the default is what it is; the README's table is checked against them by a test.
"""

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from batch_gateway.core.limits import LimitRules

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
#: Only those with a public key: with a shared secret, whoever can verify could also sign.
SigningAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class Metadata(Group):
    url: SecretStr = SecretStr("sqlite+aiosqlite:///batch-gateway.db")
    """Database: sqlite+aiosqlite:///PATH, postgresql+asyncpg://..., redis://... or valkey://...
    A Redis must be persistent (appendfsync always) and not the scratch one."""
    pool_size: Positive = 5
    """Connections per process; PostgreSQL only. Pods are many, connections are not."""
    migrate: bool = False
    """Bring the schema up to date at start. On a cluster a Job does it; the embedded platform does
    it itself."""


class Scratch(Group):
    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Redis or Valkey 6.2 or newer for queue, slots, control channel and live progress. May be
    emptied at any moment."""
    prefix: str = "batch-gateway"
    """First word of every key, so that deployments can share a server."""


class Files(Group):
    url: str = "file:///var/lib/batch-gateway/files"
    """file:///FOLDER or s3://BUCKET/PREFIX."""
    s3_endpoint: str | None = None
    """URL of an S3-compatible store; None: AWS itself."""
    s3_region: str = "us-east-1"
    """Region to sign for."""
    s3_access_key_id: str | None = None
    """None: the usual AWS credential chain."""
    s3_secret_access_key: SecretStr | None = None
    """None: the usual AWS credential chain."""
    scratch_dir: Path = Path(tempfile.gettempdir())
    """Local disk for copies of remote inputs and for external sorting; needs room for the largest
    input file."""


class Events(Group):
    sink: str | None = None
    """URL of the broker; None: the platform's K_SINK."""
    timeout_s: Seconds = 3.0
    """How long a POST to the broker may take. Short: a lost event is sent again by the janitor."""
    signing_keys: SecretStr = SecretStr("")
    """Comma-separated secrets of the internal events' signature; the first signs, all verify, so
    keys can be rotated. Empty is only allowed on the loopback interface."""


class Api(Group):
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
    max_json_bytes: Positive = 16 * 1024 * 1024
    """Largest JSON body of a request to the API."""


class Auth(Group):
    kind: Literal["none", "api-key", "oidc", "trusted-header"] = "none"
    """none: everybody is one tenant, for the loopback interface only; api-key: keys made with
    `batch-gateway keys`; oidc: tokens of an identity provider; trusted-header: a gateway in front
    names the tenant."""
    tenant: str = "default"
    """The tenant of everybody when kind is none."""
    tenant_header: str = "x-gateway-tenant"
    """Header that names the tenant when kind is trusted-header."""
    secret_header: str = "x-gateway-secret"
    """Header by which the gateway in front proves itself."""
    secret: SecretStr | None = None
    """What that header must hold. Required with trusted-header."""
    oidc_jwks_url: str | None = None
    """Where the identity provider publishes its keys. Required with oidc, as are the next two."""
    oidc_issuer: str | None = None
    """What a token's `iss` must be."""
    oidc_audience: str | None = None
    """What a token's `aud` must contain."""
    oidc_algorithms: tuple[SigningAlgorithm, ...] = ("RS256", "ES256")
    """How tokens may be signed: RS, PS or ES with 256, 384 or 512, or EdDSA."""
    oidc_tenant_claim: str = "sub"
    """The claim of a token that names the tenant."""
    oidc_leeway_s: Annotated[float, Field(ge=0)] = 30
    """How far the identity provider's clock may be from ours."""

    @model_validator(mode="after")
    def _complete(self) -> "Auth":
        if self.kind == "trusted-header" and not (self.secret and self.secret.get_secret_value()):
            raise ValueError("auth.kind trusted-header needs auth.secret")
        provider = (self.oidc_jwks_url, self.oidc_issuer, self.oidc_audience)
        if self.kind == "oidc" and not (all(provider) and self.oidc_algorithms):
            raise ValueError(
                "auth.kind oidc needs auth.oidc_jwks_url, oidc_issuer, oidc_audience and at least"
                " one of oidc_algorithms"
            )
        return self


class Quota(Group):
    batches_per_hour: Annotated[int, Field(ge=0)] = 2000
    """Most batches that a tenant creates in an hour; 0: any number. OpenAI's limit."""
    uploads_per_minute: Annotated[int, Field(ge=0)] = 600
    """Most files that a tenant begins to upload in a minute; 0: any number."""


class Planning(Group):
    shard_lines: Positive = 500
    """Most request lines of a shard: what a crash may hand to another executor, and the grain of
    fairness."""
    shard_bytes: Positive = 4 * 1024 * 1024
    """About how large a shard's object may be; an executor holds it in memory."""
    shard_tokens: Positive = 1_000_000
    """About how many estimated tokens, prompts and answers, a shard may have."""
    max_line_bytes: Positive = 16 * 1024 * 1024
    """Longest single request line."""
    max_errors: Positive = 1000
    """Most entries of a failed batch's error list."""


class Execution(Group):
    soft_budget_s: Seconds = 240
    """After this an activation starts no more calls. Well below the platform's 600 s."""
    hard_budget_s: Seconds = 540
    """After this an activation gives up running calls; leaves a minute to hand everything back."""
    max_activations: Positive = 8
    """Most executor requests open at once; at least the executor Service's max-scale."""
    term_grace_s: Seconds = 20
    """How long running calls may go on after SIGTERM; below the 30 s that clusters often give."""
    max_calls: Positive = 256
    """Most calls that one activation has in flight; further slots open further activations."""
    max_leases: Positive = 16
    """Most shards that one activation holds at once: bounds its memory and what its
    crash delays."""
    flush_interval_s: Seconds = 1.0
    """How much finished work, in seconds, a crash may cost."""
    flush_results: Positive = 256
    """How much finished work, in results, a crash may cost."""
    lease_ttl_s: Seconds = 15
    """How long a shard stays with an executor that has gone silent."""
    heartbeat_s: Seconds = 5
    """How often leases are renewed and the database is asked about cancel, pause and deadline."""
    slot_sync_s: Seconds = 0.2
    """How often grants are renewed: how fast slots move between executors."""
    slot_ttl_s: Seconds = 5
    """How long a grant outlives its holder's last sync; a holder that cannot sync aborts its calls
    before."""
    idle_exit_s: Seconds = 6
    """How long an activation without work or slots waits before it ends. Longer than a dead one
    stays registered."""
    fence_s: Seconds = 30
    """How long executors may take to give up the shards of a cancelled or expired batch."""
    assembly_ttl_s: Seconds = 15
    """How long an assembly stays with an assembler that has gone silent."""


class Sweep(Group):
    interval_s: Seconds = 3.0
    """The janitor's ticks cannot be signed, so more of them than one in this time do nothing."""
    unsent_s: Seconds = 10.0
    """An event that is in the outbox for longer was not sent. Longer than a POST may take."""
    stuck_s: Seconds = 60.0
    """A batch that waits for longer in a state has lost the event that moves it on. Announcing it
    twice is harmless."""
    leftovers_s: Seconds = 86400.0
    """Unfinished writes that are older have no writer any more."""


class Limits(Group):
    start: Positive = 8
    """Slots of a pool that nothing is known of yet."""
    floor: Positive = 1
    """Slots that are left whatever happens."""
    ceiling: Positive = 256
    """Slots of a pool at most."""
    cut: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Factor by which trouble lowers a limit, at each controller interval that sees some."""
    step: Annotated[float, Field(gt=0)] = 1.0
    """Slots that a round trip without trouble adds."""
    interval_s: Seconds = 0.2
    """How often a pool's limit is reconsidered."""

    @property
    def rules(self) -> LimitRules:
        return LimitRules(
            floor=self.floor, ceiling=self.ceiling, start=self.start, cut=self.cut, step=self.step
        )


class Retry(Group):
    attempts: Positive = 5
    """Most calls for one request line that ended in overload or a broken connection."""
    backoff_s: Seconds = 0.5
    """Pause before the second attempt; doubles from there, with jitter."""
    backoff_max_s: Seconds = 60
    """Longest pause; a longer Retry-After is honoured up to this."""


class Inference(Group):
    url: str = "http://127.0.0.1:8000"
    """Base URL of the OpenAI-compatible endpoint, without /v1."""
    api_key: SecretStr | None = None
    """Sent as bearer token; None: no Authorization header."""
    timeout_s: Seconds = 300
    """Longest single model call; the activation's hard budget bounds it too."""
    models: tuple[str, ...] = ()
    """Models that requests may name; empty: any."""


class Log(Group):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is written."""
    format: Literal["json", "text"] = "json"
    """json: one object per line, for collectors; text: for people."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="BATCH_GATEWAY_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    metadata: Metadata = Metadata()
    scratch: Scratch = Scratch()
    files: Files = Files()
    events: Events = Events()
    api: Api = Api()
    auth: Auth = Auth()
    quota: Quota = Quota()
    planning: Planning = Planning()
    execution: Execution = Execution()
    sweep: Sweep = Sweep()
    limits: Limits = Limits()
    retry: Retry = Retry()
    inference: Inference = Inference()
    log: Log = Log()


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)
