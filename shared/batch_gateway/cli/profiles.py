"""Profiles: services by name, with their keys, in a file that only its owner can read.

``~/.config/batch-gateway/config.yaml`` (or under XDG_CONFIG_HOME, or BATCH_GATEWAY_CONFIG)::

    current: work
    profiles:
      work: {url: https://batch.example.com/v1, api_key: sk-bg-...}
"""

import os
import stat
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from batch_gateway.cli.errors import CommandError

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionProfile:
    url: str
    api_key: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionProfiles:
    current: str | None = None
    by_name: dict[str, ConnectionProfile] = field(default_factory=dict)

    def get(self, name: str) -> ConnectionProfile:
        """Raises CommandError."""
        if name not in self.by_name:
            known = ", ".join(self.by_name) or "none; `batch-gateway login` makes one"
            raise CommandError(f"there is no profile {name}; there are: {known}", 2)
        return self.by_name[name]

    def with_profile(self, name: str, profile: ConnectionProfile) -> "ConnectionProfiles":
        """These with ``profile``, which is the current one."""
        return ConnectionProfiles(current=name, by_name={**self.by_name, name: profile})

    def without(self, name: str) -> "ConnectionProfiles":
        """Raises CommandError."""
        self.get(name)
        rest = {other: profile for other, profile in self.by_name.items() if other != name}
        current = None if self.current == name else self.current
        return ConnectionProfiles(current=current, by_name=rest)


def path() -> Path:
    if given := os.environ.get("BATCH_GATEWAY_CONFIG"):
        return Path(given)
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "batch-gateway" / "config.yaml"


def load() -> ConnectionProfiles:
    """Those of the file; none without a file. Raises CommandError."""
    import yaml

    where = path()
    try:
        with where.open("rb") as file:
            _check_mode(where, os.fstat(file.fileno()).st_mode)
            content = yaml.safe_load(file) or {}
    except FileNotFoundError:
        return ConnectionProfiles()
    except OSError as error:
        raise CommandError(f"cannot read {where}: {error.strerror}", 2) from error
    except yaml.YAMLError as error:
        raise CommandError(f"{where} is not YAML", 2) from error
    try:
        return ConnectionProfiles(
            current=content.get("current"),
            by_name={
                name: ConnectionProfile(**given) for name, given in content["profiles"].items()
            },
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise CommandError(f"{where} has no `profiles` as `login` writes them", 2) from error


def _check_mode(where: Path, mode: int) -> None:
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CommandError(f"others may read the keys in {where}: chmod 600 {where}", 2)


def save(profiles: ConnectionProfiles) -> None:
    """Whole or not at all, readable by its owner only. Raises CommandError."""
    import yaml

    where = path()
    plain: dict[str, Any] = {
        "current": profiles.current,
        "profiles": {
            name: {key: value for key, value in asdict(profile).items() if value}
            for name, profile in profiles.by_name.items()
        },
    }
    try:
        where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=where.parent, delete=False) as file:
            yaml.safe_dump(plain, file, sort_keys=False)  # such a file has the mode 0600
        Path(file.name).replace(where)
    except OSError as error:
        raise CommandError(f"cannot write {where}: {error.strerror}") from error


def chosen(name: str | None) -> ConnectionProfile | None:
    """The profile ``name``; None: the current one, if there is one. Raises CommandError."""
    name = name or os.environ.get("BATCH_GATEWAY_PROFILE")
    profiles = load()
    if name is None:
        name = profiles.current
    return None if name is None else profiles.get(name)
