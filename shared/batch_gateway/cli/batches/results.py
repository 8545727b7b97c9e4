"""``results``: the lines of a batch's output or error file.

A file that is asked for appears whole or not at all: it is written under another name first.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from typer import Option

from batch_gateway.cli.batches.exit_codes import TERMINAL, judge, rate
from batch_gateway.cli.batches.options import (
    BatchArgument,
    ConnectionOptions,
    FailOnErrors,
    Quiet,
    plain_id,
)
from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.output import Output

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import ServiceClient

#: Beginning of a cursor line: not a result, but the position of the stream.
_STANDING = b'{"cursor":'
_MOST_BREAKS = 10  # in a row


@report_errors
def results(
    batch: BatchArgument,
    to: ConnectionOptions,
    output: Output = None,
    errors: Annotated[
        bool, Option("--errors", help="The requests that failed instead of those that succeeded.")
    ] = False,
    wait: Annotated[bool, Option("--wait", help="Wait until the batch has ended.")] = False,
    follow: Annotated[
        bool,
        Option(
            "--follow",
            "-f",
            help="Print each result as soon as there is one, failures too, until the batch ends.",
        ),
    ] = False,
    fail_on_errors: FailOnErrors = None,
    quiet: Quiet = False,
) -> None:
    """Print what the requests of a batch were answered, a line each, in the input's order."""
    from batch_gateway.cli.batches.progress_view import follow as follow_batch
    from batch_gateway.cli.batches.progress_view import line
    from batch_gateway.cli.batches.summary import print_summary

    if follow and (errors or wait):
        raise typer.BadParameter("--follow prints all results as they come: without other options")
    fail_above = rate(fail_on_errors)
    with to.service() as service:
        path = f"/batches/{plain_id(batch)}"
        if follow:
            with target_of(output) as target:
                follow_results(service, path, target)
        found = service.get(path)
        if wait and found["status"] not in TERMINAL:
            found = follow_batch(service, batch, quiet=quiet)
        if found["status"] not in TERMINAL:
            raise CommandError(f"not there yet: {line(found)}; wait with --wait or --follow")
        file = found["error_file_id" if errors else "output_file_id"]
        if not follow:
            with target_of(output) as target:
                copy_file(service, file, target)
        if not quiet:
            print_summary(service, found, hint=not errors and not follow)
    judge([found], fail_above)


def copy_file(service: "ServiceClient", file: str | None, target: BinaryIO) -> None:
    """Write the content of a file of the service; nothing when there is none."""
    if file is not None:
        with service.stream(f"/files/{file}/content") as answer:
            for chunk in answer.iter_bytes():
                target.write(chunk)


def follow_results(service: "ServiceClient", path: str, target: BinaryIO) -> None:
    """Write every result once, as it comes.

    Between lines the service sends the position to continue at. Lines wait for it, so that none is
    written twice when the connection breaks off before it.
    """
    from batch_gateway.cli.batches.service import ConnectionLost

    cursor, status, breaks = None, "", 0
    while status not in TERMINAL:
        held: list[bytes] = []
        try:
            with service.stream(f"{path}/results", follow="true", after=cursor) as answer:
                for line in lines(answer.iter_bytes()):
                    if not line.startswith(_STANDING):
                        held.append(line)
                        continue
                    standing = json.loads(line)
                    cursor, status = standing["cursor"], standing["status"]
                    target.writelines(held)
                    target.flush()
                    held, breaks = [], 0
        except ConnectionLost:
            breaks += 1
            if breaks > _MOST_BREAKS:
                raise
            time.sleep(breaks)


def lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines with their ends: JSON may hold what else ends lines of text."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"


@contextmanager
def target_of(path: Path | None) -> Iterator[BinaryIO]:
    """Where the lines go: ``path``, or standard output. Raises CommandError.

    A regular file appears whole or not at all; a device or a pipe is written as it is.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    special = path.exists() and not path.is_file()
    part = path if special else path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        if not special:
            part.replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
    finally:
        if not special:
            part.unlink(missing_ok=True)
