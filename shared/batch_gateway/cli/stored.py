"""Commands that work on the metadata store, beside a running service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from batch_gateway.cli.failing import CommandError

if TYPE_CHECKING:
    from batch_gateway.settings import Settings

Data = Annotated[
    Path | None,
    Option(help="Folder of `batch-gateway up --data`; default: the configured store."),
]


def settings_of(data: Path | None) -> "Settings":
    """The settings of the platform in the folder ``data``; None: those of the environment.

    Raises CommandError.
    """
    from batch_gateway.settings import Metadata, Settings, WrongSetting, read_settings

    if data is None:
        try:
            return read_settings()
        except WrongSetting as error:
            raise CommandError(str(error), 2) from error
    folder = data.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    from pydantic import SecretStr

    url = f"sqlite+aiosqlite:///{folder}/metadata.db"
    return Settings(metadata=Metadata(url=SecretStr(url), migrate=True))
