"""Child processes that never outlive the platform.

Each runs in a session of its own, so Ctrl-C in a terminal reaches the platform alone, which then
stops them in order. Where the kernel can do it (Linux), a child is killed together with the
platform's process even if that one got SIGKILL. What a child writes goes to its log file.
"""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from batch_gateway.local.process_output import error_line

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_TAIL = 16 * 1024  # bytes of a log in which the cause of its end is looked for
_RESTART_PAUSES_S = (0.1, 0.5, 1.0, 5.0)
_STABLE_S = 30.0  # after so long a life the pauses start over


def processor_cores() -> int:
    """Processor cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _tied_to_parent() -> Callable[[], None] | None:
    """What a child does between fork and exec to die with this process."""
    if _LIBC is None:
        return None
    libc, parent = _LIBC, os.getpid()

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)

    return tie


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessCommand:
    """What to run; ``log`` collects its output."""

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] | None = None  # None: the platform's own
    cwd: Path | None = None


class Process(Protocol):
    """A process of the operating system; ``asyncio.subprocess.Process`` is one."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        ...

    async def wait(self) -> int:
        """The exit code; negative for a signal."""
        ...


class ChildProcess:
    """One running process."""

    def __init__(self, command: ProcessCommand, process: Process, log_start: int) -> None:
        self.command = command
        self._process = process
        self._log_start = log_start  # what stands before is of an earlier life

    @classmethod
    async def start(
        cls, command: ProcessCommand, *, pass_fds: Collection[int] = ()
    ) -> "ChildProcess":
        with command.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                env=command.env,
                cwd=command.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds,
                preexec_fn=_tied_to_parent(),
            )
            return cls(command, process, log.tell())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """The exit code; negative for a signal."""
        return await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; to a process that has ended it is nothing."""
        if self.running:
            # Not the Process's own method: it polls, and so takes the exit code away from asyncio.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL to processes that still run after ``grace_s``."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self.wait()
        except TimeoutError:
            logger.warning("%s did not stop within %.0f s; killed", self.command.name, grace_s)
        finally:
            self.signal(signal.SIGKILL)
        await self.wait()

    def how_it_ended(self) -> str:
        """Its signal, or its exit code and last words: one readable line."""
        code = self._process.returncode
        if code is not None and code < 0:
            return f"ended by {signal.Signals(-code).name}"
        line = self.error_line()
        return f"ended with exit code {code}: {line}" if line else f"ended with exit code {code}"

    def error_line(self) -> str:
        """The line of this process's output with the reason of its end; empty if there is none."""
        with self.command.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - _TAIL))
            return error_line(log.read().decode(errors="replace"))


class SupervisedProcess:
    """A server that is started again whenever it ends; its address stays the same."""

    def __init__(
        self,
        command: ProcessCommand,
        ready: Callable[[], Awaitable[bool]],
        *,
        grace_s: float = 5.0,
        run: Callable[[ProcessCommand], Awaitable[ChildProcess]] = ChildProcess.start,
    ) -> None:
        """``run`` starts the process. Raises OSError."""
        self._run = run
        self._command = command
        self._ready = ready
        self._grace_s = grace_s
        self._stopping = False
        self.child: ChildProcess | None = None  # None: not started yet

    async def start(self) -> None:
        """Start it and wait until it answers. Raises ChildProcessError if it ends instead."""
        self.child = await self._run(self._command)
        while not await self._ready():
            if not self.child.running:
                raise ChildProcessError(f"{self._command.name} {self.child.how_it_ended()}")
            await asyncio.sleep(0.01)

    async def supervise(self) -> None:
        """Start it again after each unwanted end; returns once it was stopped."""
        loop, failures, child = asyncio.get_running_loop(), 0, self.child
        while child is not None:
            started = loop.time()
            await child.wait()
            if self._stopping:
                return
            failures = 0 if loop.time() - started > _STABLE_S else failures
            logger.warning("%s %s; starting it again", self._command.name, child.how_it_ended())
            await asyncio.sleep(_RESTART_PAUSES_S[min(failures, len(_RESTART_PAUSES_S) - 1)])
            failures += 1
            if self._stopping:
                return
            self.child = child = await self._run(self._command)
            if self._stopping:  # stop() came while it was starting and has seen the old one only
                await child.stop(self._grace_s)
                return

    async def stop(self) -> None:
        self._stopping = True
        if self.child is not None:
            await self.child.stop(self._grace_s)


async def listening(port: int) -> bool:
    """Whether a process accepts connections on this port of the loopback interface."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
