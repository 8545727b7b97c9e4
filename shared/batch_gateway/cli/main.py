"""The ``batch-gateway`` command.

One module per command; what a command needs is imported when it runs, so ``--help`` is quick.
"""

import os
import sys

import typer

from batch_gateway.cli.app import SETTINGS, CommandGroup, add_version
from batch_gateway.cli.audit import audit
from batch_gateway.cli.batches import add_commands as add_batch_commands
from batch_gateway.cli.batches.commands import progress
from batch_gateway.cli.cluster import add_commands as add_cluster_commands
from batch_gateway.cli.dead import dead
from batch_gateway.cli.doctor.command import doctor
from batch_gateway.cli.inputs import add_commands as add_input_commands
from batch_gateway.cli.keys import keys
from batch_gateway.cli.logs import logs
from batch_gateway.cli.migrate import migrate
from batch_gateway.cli.output import written
from batch_gateway.cli.profile_commands import COMPLETION
from batch_gateway.cli.profile_commands import add_commands as add_profile_commands
from batch_gateway.cli.resources import add_commands as add_resource_commands
from batch_gateway.cli.settings_command import settings
from batch_gateway.cli.simulate import simulate
from batch_gateway.cli.status.command import status
from batch_gateway.cli.up import up
from batch_gateway.cli.verify import verify

app = typer.Typer(
    cls=CommandGroup,
    context_settings=SETTINGS,
    help="An OpenAI-compatible batch service for self-hosted LLM inference.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
add_version(app)
app.command()(up)
app.command()(simulate)
app.command()(migrate)
app.command()(verify)
app.command()(settings)
app.command()(logs)
app.add_typer(keys)
app.add_typer(dead)
app.command()(audit)
add_batch_commands(app)
add_input_commands(app)
add_resource_commands(app)
add_profile_commands(app)

app.command(rich_help_panel="Batches")(progress)
add_cluster_commands(app)
app.command(rich_help_panel="Clusters")(status)
app.command(rich_help_panel="Clusters")(doctor)


def run() -> None:
    """The executable. Commands without ``reported`` fail as cleanly where output is no more."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    if COMPLETION in os.environ:
        completion_init()
    try:
        with written():
            app()
    except typer.Exit as error:
        sys.exit(error.exit_code)
