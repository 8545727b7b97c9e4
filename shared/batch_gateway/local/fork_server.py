"""Starts Python programs by fork, so that common imports happen once.

``python -m batch_gateway.local.fork_server FD MODULE... [-- MODULE...]`` imports the modules and
then serves the socket ``FD`` (SOCK_SEQPACKET); the modules behind ``--`` it imports one by one
while nothing is asked for. A request is a JSON object with ``argv`` (as after ``python``),
``env`` and ``cwd``, and carries the file descriptor that the program writes to. The first answer to
a request is ``{"pid": N}``; when a program has ended, ``{"pid": N, "code": CODE}`` follows, with a
negative code for a signal. At the end of the socket the server ends, and the kernel kills what it
has started.

It has one thread and no event loop, which is what makes forking safe.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

MOST_BYTES = 1024 * 1024  # of one request
LATER = "--"  # in front of the modules that are imported while nothing is asked for
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Program = Callable[[], None]


def main(words: Sequence[str]) -> Program | None:
    """Serve until the socket ends: None. In a program's process: what is to be run there."""
    descriptor, *modules = words
    first, later = _divided(modules)
    gc.disable()  # what is imported stays for ever
    for module in first:
        importlib.import_module(module)
    gc.freeze()
    ended, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    with socket.socket(fileno=int(descriptor)) as platform:
        while True:
            at_once = 0 if later else None
            readable, _, _ = select.select([platform.fileno(), ended], [], [], at_once)
            if not readable:
                importlib.import_module(later.popleft())
                gc.freeze()
            if ended in readable:
                os.read(ended, 4096)
                _report_ends(platform)
            if platform.fileno() in readable:
                content, descriptors, _, _ = socket.recv_fds(platform, MOST_BYTES, 1)
                if not content:
                    return None
                program = _fork(platform, json.loads(content), descriptors[0])
                if program is not None:
                    os.close(ended)
                    os.close(wakes)
                    return program


def _divided(modules: Sequence[str]) -> tuple[Sequence[str], deque[str]]:
    """The modules in front of ``--``, and those behind it."""
    if LATER not in modules:
        return modules, deque()
    border = modules.index(LATER)
    return modules[:border], deque(modules[border + 1 :])


def _fork(platform: socket.socket, request: Mapping[str, Any], output: int) -> Program | None:
    """Start a process for the request; the program in it, None in the server."""
    server = os.getpid()
    pid = os.fork()
    if pid:
        os.close(output)
        platform.send(json.dumps({"pid": pid}).encode())
        return None
    _become(request, output, server)
    return lambda: _run(request["argv"])


def _report_ends(platform: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # there is none
            return
        if not pid:
            return
        code = os.waitstatus_to_exitcode(status)
        platform.send(json.dumps({"pid": pid, "code": code}).encode())


def _become(request: Mapping[str, Any], output: int, server: int) -> None:
    """Take on the session, signals, descriptors, environment and folder of a new program."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it died before the line above
        os._exit(1)
    _rename(["python", *request["argv"]])
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    gc.enable()


def _rename(argv: Sequence[str]) -> None:
    """Make /proc/PID/cmdline, which ``ps`` reads, show this command (man 5 proc, stat)."""
    fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, the 48th and 49th
    words = b"\0".join(word.encode() for word in argv)[: end - start - 1]
    ctypes.memmove(start, words.ljust(end - start, b"\0"), end - start)


def _run(argv: Sequence[str]) -> None:
    """What ``python -m MODULE WORD...`` does; ``argv`` is what comes after ``python``."""
    _, module, *words = argv
    sys.argv = [module, *words]
    sys.path[0] = str(Path.cwd())
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if (program := main(sys.argv[1:])) is not None:
        program()
