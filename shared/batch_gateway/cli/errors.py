"""How a command fails: one line on standard error, and an exit code for scripts."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import typer

from batch_gateway.option_groups import unfolded

T = TypeVar("T")

#: The service, or the cluster, refused the request. (2 is a wrong command line.)
REFUSED = 1
#: Nothing answered, or what answered was out of order.
UNREACHABLE = 3
#: The command has worked; what it was about did not end well (a batch, a roll-out, a check).
BAD_END = 4
#: Ctrl-C, as shells spell it.
INTERRUPTED = 130
#: The reader of standard output has gone, as shells spell SIGPIPE.
BROKEN_PIPE = 141


class CommandError(Exception):
    """An error that ends a command: its message and exit code."""

    def __init__(self, message: str, exit_code: int = REFUSED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def report_errors(command: Callable[..., T]) -> Callable[..., T]:
    """``command``, whose CommandErrors and Ctrl-C become a line and an exit code.

    So does standard output that cannot be written. Groups of options are unfolded.
    """
    from batch_gateway.cli.output import written
    from batch_gateway.cli.tables import print_text

    called = unfolded(command)

    @functools.wraps(called)
    def run(**given: Any) -> T:
        try:
            with written():
                return called(**given)
        except CommandError as error:
            print_text(f"batch-gateway: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("batch-gateway: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from error

    return run
