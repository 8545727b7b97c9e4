"""One process of a Service, from its start to its end.

It is ready once its readiness path answers, which is asked every few milliseconds while it starts,
as Knative's queue-proxy does: a request waits for each cold start.
"""

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from batch_gateway.local.forked import ForkServer
from batch_gateway.local.ports import ReservedPort
from batch_gateway.local.processes import ChildProcess, ProcessCommand
from batch_gateway.local.resources import KnativeService
from batch_gateway.local.upstream import UpstreamConnection

_PROBE_EVERY_S = 0.02
_PROBE_TIMEOUT_S = 5.0
_START_LIMIT_S = 60.0
#: Servers close idle connections, uvicorn by default after 5 s; never send on one about to close.
_REUSE_WITHIN_S = 2.0


class StartFailed(Exception):
    """The process ended, or did not become ready in time; the message is one line."""


class ReplicaState(Enum):
    STARTING = "starting"
    READY = "ready"
    DOUBTED = "has broken a connection"
    STOPPING = "stopping"
    LOST = "does not accept connections any more"


class FunctionReplica:
    def __init__(
        self,
        service: KnativeService,
        log: Path,
        env: Mapping[str, str],
        cwd: Path,
        fork_server: ForkServer,
    ) -> None:
        self.service = service
        self.state = ReplicaState.STARTING
        self.in_flight = 0
        self.broke_request = False  # its connection was lost in the midst of a request
        self._port = ReservedPort()
        self._idle: list[tuple[float, UpstreamConnection]] = []
        self._child: ChildProcess | None = None
        self._fork_server = fork_server
        self._command = ProcessCommand(
            name=service.name,
            argv=_argv(service.command),
            log=log,
            env={**env, "PORT": str(self._port.number)},
            cwd=cwd,
        )

    @property
    def port(self) -> int:
        """Where its process listens on the loopback interface."""
        return self._port.number

    @property
    def child(self) -> ChildProcess | None:
        """None: not started yet."""
        return self._child

    async def start(self) -> None:
        """Start the process and wait until it is ready. Raises StartFailed."""
        try:
            self._child = child = await self._fork_server.run(self._command)
        except OSError as error:
            raise StartFailed(f"cannot run {self._command.argv[0]}: {error.strerror}") from error
        if await self._becomes_ready(child):
            return
        if not child.running:
            raise StartFailed(child.how_it_ended())
        await child.stop(0)
        raise StartFailed(f"not ready after {_START_LIMIT_S:.0f} s: {child.error_line()}")

    async def prove(self) -> bool:
        """Whether a process that has broken a connection still runs; False: it has exited.

        While a process exits its port may still accept connections, and lose them.
        """
        assert self._child is not None
        if await self._becomes_ready(self._child):
            return True
        self.abandon()
        return False

    async def wait(self) -> ChildProcess:
        """Wait until the process has ended."""
        assert self._child is not None
        await self._child.wait()
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()
        return self._child

    async def stop(self, grace_s: float) -> None:
        """Have it end: by SIGTERM, and by SIGKILL after ``grace_s``."""
        self.state = ReplicaState.STOPPING
        if self._child is not None:
            await self._child.stop(grace_s)

    def abandon(self) -> None:
        """Give up a process that accepts no connections; it has died or is about to."""
        self.state = ReplicaState.LOST
        if self._child is not None:
            self._child.signal(signal.SIGKILL)

    async def connect(self) -> UpstreamConnection:
        """A connection for one request: a recent idle one, or a new one. Raises OSError."""
        loop = asyncio.get_running_loop()
        while self._idle:
            since, connection = self._idle.pop()
            if connection.open and loop.time() - since < _REUSE_WITHIN_S:
                return connection
            connection.close()
        _, connection = await loop.create_connection(
            UpstreamConnection, "127.0.0.1", self._port.number
        )
        return connection

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose request is answered for the next one."""
        if self.state is ReplicaState.READY and connection.reusable:
            self._idle.append((asyncio.get_running_loop().time(), connection))
        else:
            connection.close()

    async def _becomes_ready(self, child: ChildProcess) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_LIMIT_S):
                while child.running:
                    if await self._answers():
                        if self.state in (ReplicaState.STARTING, ReplicaState.DOUBTED):
                            self.state = ReplicaState.READY
                        return True
                    await asyncio.sleep(_PROBE_EVERY_S)
        return False

    async def _answers(self) -> bool:
        path = self.service.ready_path
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port.number)
                try:
                    if path is None:
                        return True
                    writer.write(f"GET {path} HTTP/1.0\r\nHost: probe\r\n\r\n".encode())
                    status = (await reader.readline()).split()[1:2]
                    return bool(status) and 200 <= int(status[0]) < 400
                finally:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError, ValueError):
            return False


def _argv(command: Sequence[str]) -> list[str]:
    """The image's ``python`` is here the one that we run on."""
    program, *words = command
    return [sys.executable if program == "python" else program, *words]
