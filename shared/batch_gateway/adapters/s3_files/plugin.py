"""The store plug-in of s3:// URLs."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batch_gateway.adapters.s3_files import open_s3
from batch_gateway.settings import Settings

if TYPE_CHECKING:
    from batch_gateway.adapters.s3_files.store import S3Files


def open_store(settings: Settings, *, on_full: Callable[[], None]) -> "S3Files":
    files = settings.files
    url = urlsplit(files.url)
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
