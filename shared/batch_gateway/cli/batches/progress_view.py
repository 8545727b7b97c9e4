"""Following a batch until it ends: a progress bar on a terminal, a line per change elsewhere.

All of it goes to standard error, so that results can be piped on. The service is asked often at
first and then ever more rarely; it may be away for some minutes meanwhile.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import typer

from batch_gateway.cli.batches.exit_codes import TERMINAL
from batch_gateway.cli.errors import INTERRUPTED, UNREACHABLE, CommandError

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json, ServiceClient
    from batch_gateway.cli.batches.source import InputSource

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0
_PATIENCE_S = 300.0  # without any answer


class ProgressView(Protocol):
    def show(self, batch: "Json") -> None: ...


def follow(service: "ServiceClient", batch_id: str, *, quiet: bool = False) -> "Json":
    """The batch when it has ended. Ctrl-C ends the following, not the batch."""
    try:
        with view_of(quiet=quiet) as view:
            for batch in states(service, batch_id):
                view.show(batch)
    except KeyboardInterrupt as error:
        hint = f"{batch_id} continues; see it with `get`, end it with `cancel`"
        raise CommandError(hint, INTERRUPTED) from error
    return batch


def states(service: "ServiceClient", batch_id: str) -> "Iterator[Json]":
    started = answered = time.monotonic()
    while True:
        try:
            batch = service.get(f"/batches/{batch_id}")
        except CommandError as error:
            now = time.monotonic()
            if error.exit_code != UNREACHABLE or now - answered > _PATIENCE_S:
                raise
        else:
            answered = time.monotonic()
            yield batch
            if batch["status"] in TERMINAL:
                return
        age = time.monotonic() - started
        time.sleep(min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, age / 20)))


def line(batch: "Json") -> str:
    """The state of a batch in one line."""
    counts = batch["request_counts"]
    words = [batch["id"], batch["status"]]
    if counts["total"]:
        words.append(f"{counts['completed'] + counts['failed']}/{counts['total']}")
    if counts["failed"]:
        words.append(f"{counts['failed']} failed")
    words += _remarks(batch)
    return "  ".join(words)


def _remarks(batch: "Json") -> "Iterator[str]":
    """Fields beyond OpenAI's, if the service has them."""
    if batch.get("paused"):
        yield "paused"
    if batch["status"] in TERMINAL:
        return
    if reason := batch.get("blocked_reason"):
        yield str(reason)
    if (end := batch.get("estimated_completion_at")) is not None:
        yield f"done about {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M}Z"


class LineProgressView:
    """For logs and pipes: a line whenever it would be a different one."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, batch: "Json") -> None:
        if (now := line(batch)) != self._last:
            self._last = now
            typer.echo(now, err=True)


class SilentProgressView:
    """Prints nothing: for `--quiet`."""

    def show(self, batch: "Json") -> None:
        """Show nothing."""


@contextmanager
def view_of(*, quiet: bool = False) -> "Iterator[ProgressView]":
    if quiet:
        yield SilentProgressView()
        return
    if not sys.stderr.isatty():
        yield LineProgressView()
        return
    from batch_gateway.cli.batches.bar import BatchProgressBar

    with BatchProgressBar() as bar:
        yield bar


@contextmanager
def uploading(source: "InputSource", *, quiet: bool = False) -> "Iterator[None]":
    """A progress bar on a terminal while ``source`` is read."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        name = source.name[: max(8, console.width // 4)]
        task = progress.add_task(f"Uploading {escape(name)}", total=source.size)
        source.seen = lambda count: progress.update(task, completed=count)
        yield
