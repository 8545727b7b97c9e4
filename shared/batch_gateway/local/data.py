"""The data folder of the embedded platform.

metadata.db, files/      the truth
broker/                  events not delivered yet
secrets/                 the key of the events' signature
logs/                    one file per process
scratch/, run/           nothing that is needed again
lock                     held while a platform runs on the folder
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batch_gateway.local.errors import PlatformError

_FOLDERS = ("files", "broker", "secrets", "logs", "scratch", "run")
_LOG_LIMIT = 10 * 1024 * 1024  # bytes; a longer log is set aside at start


@contextmanager
def data_folder(path: Path | None) -> Iterator[Path]:
    """The folder, made and locked; without ``path`` a temporary one that is removed at the end.

    Raises PlatformError if another platform runs on it, or if it cannot be written.
    """
    if path is None:
        temporary = Path(tempfile.mkdtemp(prefix="batch-gateway-"))
        try:
            with data_folder(temporary) as data:
                yield data
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return
    data = path.resolve()
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _FOLDERS:
            (data / name).mkdir(mode=0o700, exist_ok=True)
        lock = (data / "lock").open("a+")
    except OSError as error:
        raise PlatformError(f"cannot use {data}: {error.strerror}") from error
    with lock:
        _take(lock.fileno(), data)
        _set_aside_long_logs(data / "logs")
        yield data


def _take(lock: int, data: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode().strip() or "unknown"
        hint = f"{data} is in use by another batch-gateway (process {holder})"
        raise PlatformError(hint) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def _set_aside_long_logs(logs: Path) -> None:
    for log in logs.glob("*.log"):
        if log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
