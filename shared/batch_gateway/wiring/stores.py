"""Opens the stores that the settings name, and clients that few functions need."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.secrets import SecretSealer
from batch_gateway.ports.webhooks import WebhookResponse
from batch_gateway.settings import Settings, WebhookSettings
from batch_gateway.store_plugins import file_plugin, metadata_plugin, scratch_plugin

if TYPE_CHECKING:
    from batch_gateway.adapters.webhook_http import HttpWebhooks


def _ignored() -> None:
    """Ignore a report of a full store."""


async def open_metadata(
    settings: Settings, *, on_full: Callable[[], None] = _ignored
) -> MetadataStore:
    """The metadata store at ``metadata.url``; ``on_full`` is called when it takes no more."""
    return await metadata_plugin(settings).open_store(settings, on_full=on_full)


async def migrate_metadata(settings: Settings) -> str:
    """Bring the metadata store's schema up to date; say what was done in one line.

    Raises Unavailable when it does not answer, Permanent when a newer release has been here.
    """
    return await metadata_plugin(settings).migrate(settings)


def open_files(settings: Settings, *, on_full: Callable[[], None] = _ignored) -> FileStore:
    """The file store at ``files.url``; ``on_full`` is called when it takes no more."""
    return file_plugin(settings).open_store(settings, on_full=on_full)


def open_scratch_server(settings: Settings) -> CoordinationStore:
    return scratch_plugin(settings).open_store(settings)


def local_folders(settings: Settings) -> Mapping[str, Path]:
    """Store -> the folder that has its data, for stores on a disk of this machine."""
    found = {}
    scheme, _, rest = settings.metadata.url.get_secret_value().partition("///")
    if scheme.startswith("sqlite") and (path := rest.partition("?")[0]):
        found["metadata"] = Path(path).parent
    files = urlsplit(settings.files.url)
    if files.scheme == "file":
        found["files"] = Path(files.path)
    return found


class LazyWebhookClient:
    """A webhook client that is created at its first use.

    Its HTTP client would be an eighth of the start of functions that seldom or never use it.
    """

    def __init__(self, settings: WebhookSettings) -> None:
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


def open_sealer(settings: Settings) -> SecretSealer:
    from batch_gateway.adapters.sealing import FernetSealer

    return FernetSealer(separate_keys(settings.webhooks.encryption_keys))


def signing_keys(settings: Settings) -> Sequence[bytes]:
    """Keys of the internal events' signature; the first one signs."""
    return separate_keys(settings.events.signing_keys)


def separate_keys(secret: SecretStr) -> Sequence[bytes]:
    """Keys that a setting lists, separated by commas."""
    joined = secret.get_secret_value()
    return [key.strip().encode() for key in joined.split(",") if key.strip()]
