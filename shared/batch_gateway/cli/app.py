"""Common parts of both executables: ``-h``, ``--version``, option types."""

from typing import Annotated, Any

import typer
from typer import Option
from typer.core import TyperGroup

#: Options whose value may be left out, and what it is then.
_OPTIONAL_VALUES = {"--fail-on-errors": "--fail-on-errors=0"}

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class CommandGroup(TyperGroup):
    """A group of commands, whose options may have a value that can be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        given = [_OPTIONAL_VALUES.get(word, word) for word in args[:end]]
        return super().parse_args(ctx, given + args[end:])


def add_version(app: typer.Typer) -> None:
    """``--version`` prints the package's version."""

    @app.callback()
    def every_command(
        version: Annotated[
            bool,
            Option("--version", help="Print the version.", is_eager=True, callback=_show_version),
        ] = False,
    ) -> None:
        """Options before the command."""

    del every_command


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"batch-gateway {version('batch-gateway')}")
        raise typer.Exit
