"""Writes to standard output, whose reader may end early (``| head``), or whose disk may be full.

It ends early when a reader has gone (``| head``), or when a disk is full.
"""

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from batch_gateway.cli.errors import BROKEN_PIPE, REFUSED

_CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})

AsJson = Annotated[bool, Option("--json", help="Print JSON, for programs.")]
JsonLines = Annotated[bool, Option("--json", help="Print each as a line of JSON.")]
Output = Annotated[
    Path | None,
    Option("--output", "-o", metavar="OUT", help="Write there instead of standard output."),
]
Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask.")]


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """``value`` as JSON; ``indent`` None: on one line."""
    typer.echo(json.dumps(value, indent=indent, ensure_ascii=False))


@contextmanager
def written() -> Iterator[None]:
    """Output is flushed at the end. Raises typer.Exit if it cannot be written.

    The reader's end of a pipe is no error worth a word, and has the code that shells give to a
    command that SIGPIPE has ended.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError as error:
        _discard()
        raise typer.Exit(BROKEN_PIPE) from error
    except OSError as error:
        if error.filename is not None or error.errno not in _CANNOT_WRITE:
            raise
        _discard()
        typer.echo(f"batch-gateway: cannot write standard output: {error.strerror}", err=True)
        raise typer.Exit(REFUSED) from error


def _discard() -> None:
    """What is still buffered goes nowhere: the interpreter would complain of it at its end."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # of a test's stream, which has none
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
