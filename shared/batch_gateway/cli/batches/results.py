"""``results``: the lines of a batch's output or error file.

A file that is asked for appears whole or not at all: it is written under another name first.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from typer import Option

from batch_gateway.cli.batches.options import (
    DEFAULT_URL,
    BatchArgument,
    Headers,
    Key,
    Url,
    connect,
    plain_id,
)
from batch_gateway.cli.failing import CommandError, reported

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json


@reported
def results(
    batch: BatchArgument,
    output: Annotated[
        Path | None,
        Option("--output", "-o", metavar="FILE", help="Write there instead of standard output."),
    ] = None,
    errors: Annotated[
        bool, Option("--errors", help="The requests that failed instead of those that succeeded.")
    ] = False,
    follow: Annotated[bool, Option("--follow", "-f", help="Wait until the batch has ended.")] = (
        False
    ),
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    header: Headers = None,
) -> None:
    """Print what the requests of a batch were answered, a line each, in the input's order."""
    from batch_gateway.cli.batches.following import TERMINAL, line
    from batch_gateway.cli.batches.following import follow as follow_batch

    with connect(url, api_key, header) as service:
        found = service.get(f"/batches/{plain_id(batch)}")
        if follow and found["status"] not in TERMINAL:
            found = follow_batch(service, batch)
        if found["status"] not in TERMINAL:
            raise CommandError(f"not there yet: {line(found)}; --follow waits for it")
        file = found["error_file_id" if errors else "output_file_id"]
        with _target(output) as target:
            if file is not None:
                with service.content(file) as chunks:
                    for chunk in chunks:
                        target.write(chunk)
    typer.echo(_summary(found, errors=errors), err=True)


def _summary(batch: "Json", *, errors: bool) -> str:
    counts = batch["request_counts"]
    said = (
        f"{batch['id']} is {batch['status']}: {counts['completed']} of {counts['total']}"
        f" requests succeeded, {counts['failed']} failed"
    )
    if not errors and batch["error_file_id"] is not None:
        said += "; --errors prints those without an answer"
    return said


@contextmanager
def _target(path: Path | None) -> Iterator[BinaryIO]:
    """Where the lines go. Raises CommandError."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
