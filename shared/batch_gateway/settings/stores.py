"""Settings of the stores and of the broker."""

import tempfile
from pathlib import Path

from pydantic import SecretStr

from batch_gateway.settings.base import Positive, Seconds, SettingsGroup


class MetadataSettings(SettingsGroup):
    url: SecretStr = SecretStr("sqlite+aiosqlite:///batch-gateway.db")
    """Database: sqlite+aiosqlite:///PATH, postgresql+asyncpg://..., redis://... or valkey://... A
    Redis must be persistent (appendfsync always) and another one than scratch.url."""
    pool_size: Positive = 5
    """Connections per process; PostgreSQL only. PostgreSQL limits the sum over all pods."""
    migrate: bool = False
    """Bring the schema up to date at start. On a cluster a Job does it; the embedded platform does
    it itself."""


class CoordinationSettings(SettingsGroup):
    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Redis or Valkey 6.2 or newer for queue, slots, control channel and live progress. May be
    emptied at any moment. redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,.../SERVICE/DB or
    redis+cluster://HOST:PORT,...; rediss for TLS."""
    prefix: str = "batch-gateway"
    """First word of every key, so that deployments can share a server."""


class FileSettings(SettingsGroup):
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
    """Local disk for copies of remote inputs and for external sorting; needs space for the largest
    input file."""


class EventSettings(SettingsGroup):
    sink: str | None = None
    """URL of the broker; empty: the platform's K_SINK. Functions start without either: events then
    wait in the outbox."""
    timeout_s: Seconds = 3.0
    """Timeout of a POST to the broker. It may be short, because the janitor sends lost events
    again."""
    signing_keys: SecretStr = SecretStr("")
    """Comma-separated secrets of the internal events' signature; the first signs, all verify, so
    keys can be rotated. Empty is only allowed on the loopback interface."""
    unknown_key_s: Seconds = 600.0
    """An event that is signed with an unknown key gets 503 until it is this old, so that the broker
    retries during a key rotation. Older ones get 400."""
    token_file: Path = Path("/oidc/token")
    """File with the OIDC token for the broker, mounted by a SinkBinding. Without the file no token
    is sent."""
