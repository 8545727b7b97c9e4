"""``kn-batch``: the plugin that provides ``kn batch``.

``kn`` runs the executable ``kn-batch`` that it finds on the PATH (or in its plugins folder) and
hands all further words on. Under another name, by a symbolic link, it is that command's plugin:
``kubectl-batch`` prints ``kubectl batch``.
"""

import sys
from pathlib import PurePath

import typer

from batch_gateway.cli.app import SETTINGS, CommandGroup, add_version
from batch_gateway.cli.batches import add_commands
from batch_gateway.cli.batches.commands import progress
from batch_gateway.cli.inputs import add_commands as add_input_commands
from batch_gateway.cli.profile_commands import add_commands as add_profile_commands
from batch_gateway.cli.resources import add_commands as add_resource_commands

app = typer.Typer(
    cls=CommandGroup,
    context_settings=SETTINGS,
    help="Batches of requests to self-hosted models, on a Batch Gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
add_version(app)
add_commands(app)
add_input_commands(app)
add_resource_commands(app)
add_profile_commands(app, completion=False)
app.command("status", rich_help_panel="Batches")(progress)


def called(argv0: str) -> str:
    """What the user typed to get here, by the name that we were started under."""
    name = PurePath(argv0).name
    parent, dash, child = name.partition("-")
    return f"{parent} {child}" if dash else name


def run() -> None:
    app(prog_name=called(sys.argv[0]))
