"""Opens the store at ``folder:///PATH``; the entry point in pyproject.toml names this module."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from batch_gateway.settings import Settings
from folder_store.store import FolderStore


def open_store(settings: Settings, *, on_full: Callable[[], None]) -> FolderStore:
    return FolderStore(Path(urlsplit(settings.files.url).path), on_full)
