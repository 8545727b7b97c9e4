"""Reading and writing files of requests, a line at a time."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

from typer import Argument

from batch_gateway.cli.errors import CommandError

CHUNK = 1024 * 1024
#: A longer line is no request that any service takes: it is not read into memory.
LONGEST = 256 * 1024 * 1024
_MARK = b"\xef\xbb\xbf"  # byte order mark

FileArgument = Annotated[
    str, Argument(metavar="FILE", help="Requests as JSONL; -: standard input.")
]


@contextmanager
def readable(name: str) -> Iterator[BinaryIO]:
    """The file at its start, open for seeking; what can be read only once is copied to disk.

    ``-`` is standard input. Raises CommandError.
    """
    try:
        with sys.stdin.buffer if name == "-" else Path(name).open("rb") as stream:
            if name != "-" and stream.seekable():
                yield stream
                return
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(stream, copy, CHUNK)
                copy.seek(0)
                yield copy
    except OSError as error:
        if error.filename != name:
            raise
        raise CommandError(f"cannot read {name}: {error.strerror}", 2) from error


@contextmanager
def local(name: str) -> Iterator[Path]:
    """The path of a regular file with the content of ``name``. Raises CommandError."""
    with readable(name) as stream:
        yield Path(name) if name != "-" and _regular(name) else _path_of(stream)


def _regular(name: str) -> bool:
    return Path(name).is_file()


def _path_of(stream: BinaryIO) -> Path:
    """A path under which this process opens the file again, though it has no name."""
    return Path(f"/dev/fd/{stream.fileno()}")


def raw_lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, int, bytes]]:
    """Number from 1, offset, and bytes of each line with its end, as they are.

    Raises CommandError for a line that is longer than ``LONGEST``.
    """
    offset, number = 0, 0
    while line := stream.readline(LONGEST):
        number += 1
        if len(line) == LONGEST and not line.endswith(b"\n"):
            raise CommandError(f"{name}: line {number} is longer than {LONGEST} bytes", 2)
        yield number, offset, line
        offset += len(line)


def request_of(line: bytes, number: int) -> bytes:
    """The request in a line, without mark and white space around it; empty for a blank line."""
    return (line.removeprefix(_MARK) if number == 1 else line).strip(b" \t\r\n")


def ended(line: bytes) -> bytes:
    """The line with a line end: the last one of a file may have none."""
    return line if line.endswith(b"\n") else line + b"\n"
