"""Store plug-ins: the scheme of a store's URL selects the module that opens it.

The gateway's own plug-ins are listed here. A package adds one by an entry point in the group of the
store's kind; its name is the scheme, its value a module with the functions of the kind's protocol:

    [project.entry-points."batch_gateway.file_stores"]
    folder = "my_package.plugin"
"""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit

from batch_gateway.core.errors import Permanent
from batch_gateway.extras import require

if TYPE_CHECKING:
    from batch_gateway.ports.coordination import CoordinationStore
    from batch_gateway.ports.files import FileStore
    from batch_gateway.ports.metadata import MetadataStore
    from batch_gateway.settings import Settings

METADATA_STORES = "batch_gateway.metadata_stores"
FILE_STORES = "batch_gateway.file_stores"
SCRATCH_STORES = "batch_gateway.scratch_stores"

_SQL = "batch_gateway.adapters.sql.plugin"
_REDIS_METADATA = "batch_gateway.adapters.redis_metadata.plugin"
_REDIS_SCRATCH = "batch_gateway.adapters.redis_coordination.plugin"

#: Group -> scheme -> value of an entry point; ``[extra]`` names the extra that has its driver.
#: These stand here and not in the metadata of this package, because a function would have to read
#: the entry points of all installed packages at each start, which takes about 5 ms.
BUILT_IN: Mapping[str, Mapping[str, str]] = {
    METADATA_STORES: {
        "sqlite": _SQL,
        "postgresql": f"{_SQL} [postgres]",
        "postgres": f"{_SQL} [postgres]",
        "redis": _REDIS_METADATA,
        "rediss": _REDIS_METADATA,
        "valkey": _REDIS_METADATA,
        "valkeys": _REDIS_METADATA,
    },
    FILE_STORES: {
        "file": "batch_gateway.adapters.local_files.plugin",
        "s3": "batch_gateway.adapters.s3_files.plugin [s3]",
    },
    SCRATCH_STORES: {
        "redis": _REDIS_SCRATCH,
        "rediss": _REDIS_SCRATCH,
        "valkey": _REDIS_SCRATCH,
        "valkeys": _REDIS_SCRATCH,
        "unix": _REDIS_SCRATCH,
    },
}

_SETTING = {
    METADATA_STORES: "metadata.url",
    FILE_STORES: "files.url",
    SCRATCH_STORES: "scratch.url",
}


class UnknownStore(Permanent):
    """No plug-in for the scheme of a store's URL is installed, or it cannot be loaded."""


class MetadataPlugin(Protocol):
    async def open_store(
        self, settings: "Settings", *, on_full: Callable[[], None]
    ) -> "MetadataStore":
        """The store at ``settings.metadata.url``; it connects when it is used.

        ``on_full`` is called when the store takes no more. With ``settings.metadata.migrate`` the
        schema is brought up to date first.
        """
        ...

    async def migrate(self, settings: "Settings") -> str:
        """Bring the store's schema up to date; return what was done, in one line.

        Raises Unavailable when the store does not answer, Permanent when a newer release has
        migrated it.
        """
        ...


class FilePlugin(Protocol):
    def open_store(self, settings: "Settings", *, on_full: Callable[[], None]) -> "FileStore":
        """The store at ``settings.files.url``; ``on_full`` is called when it takes no more."""
        ...


class CoordinationPlugin(Protocol):
    def open_store(self, settings: "Settings") -> "CoordinationStore":
        """The store at ``settings.scratch.url``; it connects when it is used."""
        ...


def metadata_plugin(settings: "Settings") -> MetadataPlugin:
    """Raises UnknownStore, and MissingExtra when the store's driver is not installed."""
    return cast(MetadataPlugin, _load(METADATA_STORES, settings.metadata.url.get_secret_value()))


def file_plugin(settings: "Settings") -> FilePlugin:
    """Raises as ``metadata_plugin``."""
    return cast(FilePlugin, _load(FILE_STORES, settings.files.url))


def scratch_plugin(settings: "Settings") -> CoordinationPlugin:
    """Raises as ``metadata_plugin``."""
    return cast(CoordinationPlugin, _load(SCRATCH_STORES, settings.scratch.url.get_secret_value()))


def require_stores(settings: "Settings") -> None:
    """Raise as ``metadata_plugin`` unless all three plug-ins are installed; import none of them."""
    _found(METADATA_STORES, settings.metadata.url.get_secret_value())
    _found(FILE_STORES, settings.files.url)
    _found(SCRATCH_STORES, settings.scratch.url.get_secret_value())


def is_built_in(group: str, url: str) -> bool:
    """Whether the gateway's own plug-in opens ``url``."""
    return urlsplit(url).scheme.partition("+")[0] in BUILT_IN[group]


def require_file_store(url: str, setting: str) -> None:
    """Raise as ``metadata_plugin`` unless the plug-in of ``url`` is installed; ``setting`` has the
    URL and is named in the message."""
    _found(FILE_STORES, url, setting)


def _load(group: str, url: str) -> Any:
    entry = _found(group, url)
    try:
        plugin = entry.load()
    except (ImportError, AttributeError) as error:
        raise UnknownStore(
            f"{_SETTING[group]}: the plug-in {entry.value} cannot be loaded: {error}"
        ) from error
    if not callable(getattr(plugin, "open_store", None)):
        raise UnknownStore(f"{_SETTING[group]}: the plug-in {entry.value} has no open_store()")
    return plugin


def _found(group: str, url: str, setting: str | None = None) -> EntryPoint:
    """``setting`` None: that of the group."""
    setting = setting or _SETTING[group]
    scheme = urlsplit(url).scheme.partition("+")[0]  # of postgresql+asyncpg: without the driver
    if (value := BUILT_IN[group].get(scheme)) is None:
        return _installed(group, scheme, setting)
    entry = EntryPoint(scheme, value, group)
    for extra in entry.extras:
        require(extra, f"{setting} with {scheme}://")
    return entry


def _installed(group: str, scheme: str, setting: str) -> EntryPoint:
    found = entry_points(group=group)
    matching = {entry.value: entry for entry in found if entry.name == scheme}
    if len(matching) == 1:
        return next(iter(matching.values()))
    if matching:
        several = " and ".join(sorted(matching))
        raise UnknownStore(f"{setting}: several plug-ins for {scheme}://: {several}")
    wanted = f"{scheme}://" if scheme else "a URL without a scheme"
    known = ", ".join(sorted({*BUILT_IN[group], *(entry.name for entry in found)}))
    raise UnknownStore(
        f"{setting}: no plug-in for {wanted} is installed; there are those for {known}"
    )
