"""Settings of the functions on one machine, from flags, environment, file and manifests.

Flags win over environment variables, those over the configuration file, that over the platform's
own defaults, and those over the manifests' ConfigMap. The outcome is checked here once, so that a
wrong value is told at start and not by the log of a function; the functions then get it as the
same environment variables that a cluster would give them.
"""

import ipaddress
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
)

from batch_gateway.extras import MissingExtra, require
from batch_gateway.local.errors import PlatformError
from batch_gateway.settings import Settings, explained
from batch_gateway.settings.spelling import meant
from batch_gateway.store_plugins import UnknownStore, require_stores

Groups = Mapping[str, Mapping[str, Any]]

_PREFIX = "BATCH_GATEWAY_"
_KEY_BYTES = 32
_INFERENCE_URL = "http://127.0.0.1:8000"  # vLLM's default address
_TERM_GRACE_S = 5  # Ctrl-C should be quick; what is cut off is done again


def variables(groups: Groups) -> dict[str, str]:
    """``{"group": {"field": value}}`` as environment variables; None keeps the default."""
    return {
        f"{_PREFIX}{group}__{name}".upper(): _spelled(value)
        for group, fields in groups.items()
        for name, value in fields.items()
        if value is not None
    }


def _spelled(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value if isinstance(value, str) else json.dumps(value)


def from_file(path: Path) -> dict[str, str]:
    """The settings of a configuration file, as environment variables. Raises PlatformError."""
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise PlatformError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise PlatformError(f"{path} is not YAML: {error}".replace("\n", " ")) from error
    if not isinstance(content, dict):
        raise PlatformError(f"{path} must be a mapping of groups of settings")
    for group, fields in content.items():
        if group not in Settings.model_fields:
            close = meant(str(group), Settings.model_fields)
            raise PlatformError(f"{path}: there is no group of settings {group!r}{close}")
        if not isinstance(fields, dict):
            raise PlatformError(f"{path}: {group} must be a mapping of settings")
    return variables(content)


def from_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}


def local_defaults(data: Path, *, scratch_url: str) -> dict[str, str]:
    """Everything in the folder ``data``, nothing beyond this machine."""
    return variables(
        {
            "metadata": {"url": f"sqlite+aiosqlite:///{data}/metadata.db", "migrate": True},
            "scratch": {"url": scratch_url},
            "files": {"url": f"file://{data}/files", "scratch_dir": str(data / "scratch")},
            "auth": {"kind": "none"},
            "inference": {"url": _INFERENCE_URL},
            "events": {"signing_keys": _key(data / "secrets" / "signing-key")},
            "webhooks": {
                "encryption_keys": _key(data / "secrets" / "webhook-key"),
                # Receivers of trials run on this very machine.
                "allow_http": True,
                "allow_private": True,
            },
            "execution": {"term_grace_s": _TERM_GRACE_S},
            "log": {"format": "text"},
        }
    )


def _key(path: Path) -> str:
    """A key of this folder; made once, readable by its owner only."""
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(_KEY_BYTES))
        fresh.replace(path)
    return path.read_text()


def checked(
    environment: Mapping[str, str],
    files: Mapping[str, str] | None = None,
    *,
    drivers: bool = True,
) -> Settings:
    """The settings that a function with this environment would read.

    Raises PlatformError with a line for each wrong setting; ``files`` says for variables that come
    from a file which one it is. ``drivers`` False: no function runs here, so what opens the stores
    need not be installed.
    """

    class Given(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic calls by name
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            source = EnvSettingsSource(settings_cls)
            source.env_vars = {name.lower(): value for name, value in environment.items()}
            return (source,)

    try:
        settings = Given()
    except ValueError as error:
        raise PlatformError("\n".join(explained(error, files))) from error
    if not drivers:
        return settings
    try:
        require_stores(settings)
        if settings.tracing.enabled:
            require("otel", "tracing.enabled")
    except (MissingExtra, UnknownStore) as error:
        raise PlatformError(str(error)) from error
    return settings


def require_authenticator(settings: Settings, host: str) -> None:
    """Refuse to serve strangers without asking who they are. Raises PlatformError."""
    if settings.auth.kind == "none" and not _is_loopback(host):
        raise PlatformError(
            f"will not listen on {host} without an authenticator: every client could use"
            " it; configure auth.kind, or listen on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
