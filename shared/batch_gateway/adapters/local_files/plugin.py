"""The store plug-in of file:// URLs."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from batch_gateway.adapters.local_files.store import LocalFiles
from batch_gateway.settings import Settings


def open_store(settings: Settings, *, on_full: Callable[[], None]) -> LocalFiles:
    return LocalFiles(Path(urlsplit(settings.files.url).path), on_full)
