"""Routes from a file that is reloaded when it changes, with API keys from files and variables.

A request for routes checks, at most once a second, whether a file has changed: by its identity
(device, inode, size, time), so that a ConfigMap's or Secret's swapped symbolic link is seen too. A
new file that is broken, or names a key that cannot be read, is logged and not used: the old routes
stay until it is mended.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from batch_gateway.core.routing import ModelEndpoint, RoutingTable
from batch_gateway.ports.routing import ReplicaRoute
from batch_gateway.services.routing import call_headers, routes_of
from batch_gateway.settings.routes import checked_routes

logger = logging.getLogger(__name__)

LOOK_S = 1.0

_Mark = tuple[tuple[int, ...] | None, ...]  # what files are; None: not there


class RoutingFile:
    def __init__(
        self,
        path: Path,
        *,
        objective: str | None = None,
        hard_budget_s: float | None = None,
        keys: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ValueError when the file cannot be used: nothing could be routed.

        ``objective`` is the deployment's, for endpoints that have none of their own;
        ``hard_budget_s``: a file with a longer call is not used; None: any may be. ``keys`` False:
        no request is sent by these routes, so neither keys nor certificates are read.
        """
        self._path = path
        self._objective = objective
        self._hard_budget_s = hard_budget_s
        self._keys = keys
        self._clock = clock
        self._looked_at = clock()
        self._version = 0
        self._mark: _Mark = ()
        self._read()

    @property
    def table(self) -> RoutingTable:
        self._look()
        return self._table

    @property
    def version(self) -> int:
        self._look()
        return self._version

    def headers(self, endpoint: ModelEndpoint) -> Mapping[str, str]:
        return self._headers[endpoint.name]

    def routes(self, name: str) -> Sequence[ReplicaRoute]:
        self._look()
        return routes_of(self._table, name, self.headers)

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        if self._marks(self._watched) == self._mark:
            return
        log = {"action": "routes"}
        try:
            self._read()
        except ValueError as error:
            self._mark = self._marks(self._watched)  # say it once
            logger.error("The old routes stay in use: %s", error, extra=log)
            return
        self._version += 1
        logger.info("Routes reloaded from %s", self._path, extra=log)

    def _read(self) -> None:
        """Take up the file with all keys, or nothing. Raises ValueError."""
        before = self._marks([self._path])
        try:
            content = yaml.safe_load(self._path.read_bytes())
        except OSError as error:
            raise ValueError(f"{self._path}: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ValueError(f"{self._path} is not YAML: {error}".replace("\n", " ")) from error
        try:
            routes = checked_routes(content)
            name, longest = routes.longest_call
            if self._hard_budget_s is not None and longest > self._hard_budget_s:
                raise ValueError(
                    f"endpoints.{name}.timeout_s: {longest:g} s are more than"
                    f" execution.hard_budget_s allows ({self._hard_budget_s:g} s)"
                )
            table = routes.table(objective=self._objective)
            endpoints = {endpoint.name: endpoint for endpoint in _endpoints(table)}
            called = endpoints if self._keys else {}
            watched = [path for endpoint in called.values() for path in _files(endpoint)]
            marks = self._marks(watched)
            found = {name: _key(endpoint) for name, endpoint in called.items()}
            headers = {
                name: call_headers(endpoint, found.get(name))
                for name, endpoint in endpoints.items()
            }
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from error
        self._table, self._headers = table, headers
        self._watched = [self._path, *watched]
        self._mark = before + marks

    @staticmethod
    def _marks(paths: Sequence[Path]) -> _Mark:
        return tuple(map(_mark, paths))


def _mark(path: Path) -> tuple[int, ...] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _endpoints(table: RoutingTable) -> Iterator[ModelEndpoint]:
    yield from table.default
    for model in table.models.values():
        for replica in model.replicas:
            yield replica.endpoint


def _files(endpoint: ModelEndpoint) -> list[Path]:
    """Files that must be there for ``endpoint`` to be called."""
    tls = endpoint.tls
    return [path for path in (endpoint.key_file, tls.ca, tls.certificate, tls.key) if path]


def _key(endpoint: ModelEndpoint) -> str | None:
    """The API key; None: it has none. Raises ValueError when a file or variable is not there."""
    where = f"endpoints.{endpoint.name}"
    for path in _files(endpoint):
        if not path.is_file():
            raise ValueError(f"{where}: there is no file {path}")
    if endpoint.key_file is not None:
        try:
            key = endpoint.key_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{where}: cannot read {endpoint.key_file}: {error}") from error
    elif endpoint.key_variable is not None:
        key = os.environ.get(endpoint.key_variable, "").strip()
    else:
        return None
    if not key or not key.isascii() or not key.isprintable():
        source = endpoint.key_file or f"the variable {endpoint.key_variable}"
        raise ValueError(f"{where}: {source} does not hold an API key")
    return key
