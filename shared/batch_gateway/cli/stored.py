"""Commands that work on the metadata store, beside a running service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

if TYPE_CHECKING:
    from batch_gateway.settings import Settings

Data = Annotated[
    Path | None,
    Option(help="Folder of `batch-gateway up --data`; default: the configured store."),
]


def settings_of(data: Path | None) -> "Settings":
    """The settings of the platform in the folder ``data``; None: those of the environment."""
    from batch_gateway.settings import Metadata, Settings

    if data is None:
        return Settings()
    folder = data.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    from pydantic import SecretStr

    url = f"sqlite+aiosqlite:///{folder}/metadata.db"
    return Settings(metadata=Metadata(url=SecretStr(url), migrate=True))
