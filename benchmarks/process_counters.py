"""Counts in each function's process its requests to stores and its responses.

Imported by ``sitecustomize`` (see ``burst_profile``): the fork server's children count from their
fork on. SIGUSR2 writes the counts to a file and begins anew.
"""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = "BENCHMARK_COUNTS"

_counts: Counter[str] = Counter()


def install() -> None:
    """Count in the processes that this one forks, if it is a fork server, or in the platform."""
    command = Path("/proc/self/cmdline").read_bytes()
    if b"batch_gateway.local.fork_server" in command:
        os.register_at_fork(after_in_child=_count)
    elif b"batch_gateway\0up" in command:
        signal.signal(signal.SIGUSR2, _write)


def _count() -> None:
    import aiosqlite
    from redis.asyncio.connection import AbstractConnection
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from batch_gateway.adapters.sql.sqlite_driver import SqliteCursor

    _wrap(SqliteCursor, "_run", "SQL statements")
    _wrap(aiosqlite.Connection, "commit", "write transactions")
    _wrap(AbstractConnection, "send_packed_command", "Redis trips")
    _wrap(RequestResponseCycle, "__init__", "HTTP requests")
    _wrap(os, "fsync", "fsyncs")
    signal.signal(signal.SIGUSR2, _write)


def _wrap(owner: Any, name: str, what: str) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    def counted(*args: Any, **options: Any) -> Any:
        _counts[what] += 1
        return original(*args, **options)

    setattr(owner, name, counted)


def _write(*_: object) -> None:
    path = Path(os.environ[FOLDER]) / f"{os.getpid()}.json"
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(_counts))
    draft.rename(path)
    _counts.clear()
