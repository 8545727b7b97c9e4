"""Parts of the package that are installed on demand: ``pip install 'batch-gateway[s3]'``."""

from importlib.util import find_spec

from batch_gateway.core.errors import Permanent

#: Extra -> a module that only it installs.
EXTRAS = {
    "s3": "boto3",
    "postgres": "asyncpg",
    "cluster": "kubernetes",
    "otel": "opentelemetry.sdk",
}


class MissingExtra(Permanent):
    """An extra is not installed that the settings or a command need."""


def require(extra: str, purpose: str) -> None:
    """Raise MissingExtra, with the command that helps, unless ``extra`` is installed."""
    module = EXTRAS[extra]
    if not _installed(module):
        raise MissingExtra(
            f"{purpose} needs the package {module}: pip install 'batch-gateway[{extra}]'"
        )


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False
