"""The file that names the running functions to a Prometheus on this machine.

Functions listen on ports of their own choice, and come and go. Prometheus watches the file
(``file_sd_configs``) and scrapes what it names. That is no request to a function: it keeps none of
them from zero.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

logger = logging.getLogger(__name__)

FILE = "metrics-targets.json"


class _TargetGroup(msgspec.Struct):
    """As Prometheus reads it."""

    targets: list[str]
    labels: dict[str, str]


class MetricsTargets:
    def __init__(self, folder: Path) -> None:
        """Write the file into ``folder``, without targets: those of an earlier run are gone."""
        self._path = folder / FILE
        self.write(())

    def write(self, replicas: Iterable[tuple[str, int]]) -> None:
        """Name these replicas: the Service of each, and its port on the loopback interface.

        Readers see the file before or after the change. A disk that is full leaves it as it is;
        the next change tries again.
        """
        ports: dict[str, list[str]] = {}
        for service, port in replicas:
            ports.setdefault(service, []).append(f"127.0.0.1:{port}")
        groups = [
            _TargetGroup(targets=sorted(ports[service]), labels={"service": service})
            for service in sorted(ports)
        ]
        written = self._path.with_suffix(".new")
        try:
            written.write_bytes(msgspec.json.encode(groups))
            written.replace(self._path)
        except OSError as error:
            logger.warning("cannot write %s: %s", self._path, error.strerror)
