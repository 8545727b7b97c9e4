"""Opens the stores of the settings; adapters are imported here, late."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from batch_gateway.core.ids import TenantId
from batch_gateway.extras import require_drivers
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.scratch import ScratchStore
from batch_gateway.ports.secrets import Sealer
from batch_gateway.ports.webhooks import WebhookResponse
from batch_gateway.settings import Settings, Webhooks

if TYPE_CHECKING:
    from batch_gateway.adapters.webhook_http import HttpWebhooks


def _ignored() -> None:
    """Ignore a report of a full store."""


async def open_metadata(
    settings: Settings, *, on_full: Callable[[], None] = _ignored
) -> MetadataStore:
    """The metadata store that ``metadata.url`` names, by its scheme.

    ``on_full`` is called when it takes no more.
    """
    url = settings.metadata.url.get_secret_value()
    if _is_redis(url):
        from batch_gateway.adapters.redis_metadata import open_redis_metadata

        return open_redis_metadata(url, prefix=settings.scratch.prefix, on_full=on_full)
    require_drivers(metadata_url=url, files_url="")
    from batch_gateway.adapters.sql import open_sql

    return await open_sql(
        url,
        pool_size=settings.metadata.pool_size,
        migrate=settings.metadata.migrate,
        on_full=on_full,
    )


async def migrate_metadata(settings: Settings) -> str:
    """Bring the metadata store's schema up to date; say what was done in one line.

    Raises Unavailable when it does not answer, Permanent when a newer release has been here.
    """
    url = settings.metadata.url.get_secret_value()
    if _is_redis(url):
        store = await open_metadata(settings)
        try:
            await store.check()
        finally:
            await store.close()
        return "metadata is on Redis, which needs no migration"
    require_drivers(metadata_url=url, files_url="")
    from batch_gateway.adapters.sql.migrate import migrate

    return await migrate(url)


def _is_redis(url: str) -> bool:
    return urlsplit(url).scheme.startswith(("redis", "valkey"))


def open_files(settings: Settings, *, on_full: Callable[[], None] = _ignored) -> FileStore:
    """The file store that ``files.url`` names, by its scheme; ``on_full`` as above."""
    files = settings.files
    url = urlsplit(files.url)
    if url.scheme == "file":
        from pathlib import Path

        from batch_gateway.adapters.local_files import LocalFiles

        return LocalFiles(Path(url.path), on_full)
    if url.scheme == "s3":
        require_drivers(metadata_url="", files_url=files.url)
        from batch_gateway.adapters.s3_files import open_s3

        secret = files.s3_secret_access_key
        return open_s3(
            url.netloc,
            url.path.strip("/"),
            endpoint=files.s3_endpoint,
            region=files.s3_region,
            access_key_id=files.s3_access_key_id,
            secret_access_key=None if secret is None else secret.get_secret_value(),
            on_full=on_full,
        )
    raise ValueError(f"files.url must begin with file:// or s3://, not {files.url!r}")


def open_scratch_server(settings: Settings) -> ScratchStore:
    from batch_gateway.adapters.scratch import SlotRules, open_late

    def slots() -> SlotRules:
        limits = settings.limits
        interval = timedelta(seconds=limits.interval_s)
        return SlotRules(limits=limits.rules, interval=interval, total=limits.total)

    return open_late(
        settings.scratch.url.get_secret_value(),
        prefix=settings.scratch.prefix,
        slots=slots,
        weights=lambda: {TenantId(name): w for name, w in settings.queue.tenant_weights.items()},
    )


class LazyWebhookClient:
    """A webhook client that is created at its first use.

    Its HTTP client would be an eighth of the start of functions that seldom or never use it.
    """

    def __init__(self, settings: Webhooks) -> None:
        self._settings = settings
        self._client: HttpWebhooks | None = None

    async def check(self, url: str) -> None:
        await self._made().check(url)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> WebhookResponse:
        return await self._made().post(url, headers, body)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _made(self) -> "HttpWebhooks":
        if self._client is None:
            from batch_gateway.adapters.webhook_http import HttpWebhooks

            self._client = HttpWebhooks(
                timeout=timedelta(seconds=self._settings.timeout_s),
                allow_http=self._settings.allow_http,
                allow_private=self._settings.allow_private,
            )
        return self._client


def open_sealer(settings: Settings) -> Sealer:
    from batch_gateway.adapters.sealing import FernetSealer

    return FernetSealer(separate_keys(settings.webhooks.encryption_keys))


def signing_keys(settings: Settings) -> Sequence[bytes]:
    """Keys of the internal events' signature; the first one signs."""
    return separate_keys(settings.events.signing_keys)


def separate_keys(secret: SecretStr) -> Sequence[bytes]:
    """Keys that a setting lists, separated by commas."""
    joined = secret.get_secret_value()
    return [key.strip().encode() for key in joined.split(",") if key.strip()]
