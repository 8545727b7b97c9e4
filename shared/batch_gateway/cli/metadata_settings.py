"""Settings of commands that use the metadata store directly."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from typer import Option

from batch_gateway.cli.errors import REFUSED, UNREACHABLE, CommandError

if TYPE_CHECKING:
    from batch_gateway.ports.metadata import MetadataStore
    from batch_gateway.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataStoreOption:
    """Which metadata store."""

    data: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="Folder of `batch-gateway up --data`; default: the configured store.",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPlatformOption:
    """Whether a command is about this machine instead of a cluster."""

    data: Annotated[
        Path | None,
        Option(metavar="DIR", help="Folder of `batch-gateway up --data`: of this machine."),
    ] = None


def settings_of(data: Path | None) -> "Settings":
    """The settings of the platform in the folder ``data``; None: those of the environment.

    Raises CommandError, also where an SQLite database does not exist: opening it would make one.
    """
    from pydantic import SecretStr

    from batch_gateway.settings import FileSettings, MetadataSettings, WrongSetting, read_settings

    try:
        settings = read_settings()
    except WrongSetting as error:
        raise CommandError(str(error), 2) from error
    if data is not None:
        folder = data.resolve()
        metadata = MetadataSettings(
            url=SecretStr(f"sqlite+aiosqlite:///{folder}/metadata.db"), migrate=True
        )
        files = FileSettings(url=f"file://{folder}/files")
        settings = settings.model_copy(update={"metadata": metadata, "files": files})
    if (missing := missing_database(settings)) is not None:
        raise CommandError(missing, 2)
    return settings


def missing_database(settings: "Settings") -> str | None:
    """What is said of an SQLite database that does not exist; None: it does, or is another kind."""
    scheme, _, path = settings.metadata.url.get_secret_value().partition("///")
    if not scheme.startswith("sqlite") or Path(path.partition("?")[0]).is_file():
        return None
    if (folder := Path(path).parent).is_absolute() and Path(path).name == "metadata.db":
        return f"{folder} is no folder of `batch-gateway up --data`: it has no metadata.db"
    return (
        f"there is no database {path}; name the folder of `batch-gateway up` with --data, or a "
        "store with BATCH_GATEWAY_METADATA__URL"
    )


def on_store(
    data: Path | None,
    work: "Callable[[MetadataStore], Awaitable[T]]",
    *,
    within_s: float | None = None,
) -> T:
    """What ``work`` returns, done on the store ``within_s`` seconds. Raises CommandError."""
    from batch_gateway.core.errors import BatchGatewayError, Temporary

    try:
        return asyncio.run(_done(settings_of(data), work, within_s))
    except TimeoutError as error:
        raise CommandError(f"the store does not answer within {within_s} s", UNREACHABLE) from error
    except BatchGatewayError as error:
        code = UNREACHABLE if isinstance(error, Temporary) else REFUSED
        raise CommandError(str(error), code) from error


async def _done(
    settings: "Settings",
    work: "Callable[[MetadataStore], Awaitable[T]]",
    within_s: float | None,
) -> T:
    from batch_gateway.wiring.stores import open_metadata

    async with asyncio.timeout(within_s):
        store = await open_metadata(settings)
        try:
            await store.check()
            return await work(store)
        finally:
            await store.close()
