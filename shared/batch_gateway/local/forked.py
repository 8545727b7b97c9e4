"""Python processes of the platform, started by a fork server instead of a new interpreter.

A function's start is to two thirds imports, and most of its memory is what it has imported. A
process that is forked from one that has imported everything starts within a tenth of the time, and
shares these pages with all others. On a cluster every pod is an interpreter of its own, so this is
only how processes come into being here: what they run is the same.
"""

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from batch_gateway.local import preloaded
from batch_gateway.local.fork_server import LATER, MOST_BYTES
from batch_gateway.local.processes import ChildProcess, ProcessCommand

logger = logging.getLogger(__name__)


class ForkedProcess:
    """A process that the fork server has started: what a ``ChildProcess`` needs to know of it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def ended(self, code: int) -> None:
        self.returncode = code
        self._ended.set()


class ForkServer:
    """Starts processes that run a module; the server itself is started by the first of them.

    When the server ends, so do its processes, and the next start begins another one.
    """

    def __init__(
        self,
        log: Path,
        first: Sequence[str] = preloaded.FIRST,
        later: Sequence[str] = preloaded.LATER,
    ) -> None:
        """``log`` collects what the server itself writes. Modules: ``first`` are imported before
        the first process starts, ``later`` when none is asked for."""
        self._log = log
        self._modules = [*first, LATER, *later]
        self._socket: socket.socket | None = None
        self._server: ChildProcess | None = None
        self._processes: dict[int, ForkedProcess] = {}
        self._answers: asyncio.Queue[int | None] = asyncio.Queue()
        self._one_at_a_time = asyncio.Lock()

    @staticmethod
    def can_run(command: ProcessCommand) -> bool:
        """Whether it runs a module of this package on this interpreter, on Linux."""
        program, *words = command.argv
        return (
            sys.platform == "linux"
            and program == sys.executable
            and words[:1] == ["-m"]
            and words[1].startswith("batch_gateway.")
        )

    async def run(self, command: ProcessCommand) -> ChildProcess:
        """Start one process: by fork where that can be done, else as a new interpreter.

        Raises OSError.
        """
        if self.can_run(command):
            try:
                return await self.start(command)
            except OSError as error:
                logger.warning("%s is started without fork: %s", command.name, error)
        return await ChildProcess.start(command)

    async def start(self, command: ProcessCommand) -> ChildProcess:
        """Start one process by fork. Raises OSError when that cannot be done."""
        with command.log.open("ab") as log:
            async with self._one_at_a_time:
                process = await self._fork(command, log.fileno())
            return ChildProcess(command, process, log.tell())

    async def stop(self) -> None:
        """End the server; what it has started ends with it."""
        if self._socket is not None:
            self._lose()
        if self._server is not None:
            await self._server.stop(1)

    async def _fork(self, command: ProcessCommand, output: int) -> ForkedProcess:
        request = {
            "argv": list(command.argv[1:]),
            "env": dict(os.environ if command.env is None else command.env),
            "cwd": str(command.cwd or Path.cwd()),
        }
        content = json.dumps(request).encode()
        if len(content) > MOST_BYTES:
            raise OSError("the environment is too large")
        platform = await self._serving()
        socket.send_fds(platform, [content], [output])
        pid = await self._answers.get()
        if pid is None:
            raise OSError("the fork server ended")
        return self._processes[pid]

    async def _serving(self) -> socket.socket:
        """The connection to a running server."""
        if self._socket is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                words = ["-m", "batch_gateway.local.fork_server", str(theirs.fileno())]
                self._server = await ChildProcess.start(
                    ProcessCommand(
                        name="fork-server",
                        argv=[sys.executable, *words, *self._modules],
                        log=self._log,
                        env={**os.environ, "PYTHONUNBUFFERED": "1"},
                    ),
                    pass_fds=[theirs.fileno()],
                )
            ours.setblocking(False)
            self._socket, self._answers = ours, asyncio.Queue()
            asyncio.get_running_loop().add_reader(ours, self._hear)
        return self._socket

    def _hear(self) -> None:
        """Read messages of the server: a process has started, or one has ended."""
        assert self._socket is not None
        try:
            content = self._socket.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self._lose()
            return
        told = json.loads(content)
        if "code" in told:
            self._processes.pop(told["pid"]).ended(told["code"])
        else:
            self._processes[told["pid"]] = ForkedProcess(told["pid"])
            self._answers.put_nowait(told["pid"])

    def _lose(self) -> None:
        """The server is gone, and the kernel has killed its processes."""
        assert self._socket is not None
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        for process in self._processes.values():
            process.ended(-9)
        self._processes.clear()
        self._answers.put_nowait(None)
