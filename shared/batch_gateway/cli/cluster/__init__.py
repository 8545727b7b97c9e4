"""Commands for operators of a cluster, on the kubernetes client."""

import typer

from batch_gateway.cli.cluster.deploy import deploy
from batch_gateway.cli.cluster.rollback import rollback
from batch_gateway.cli.cluster.uninstall import uninstall

_PANEL = "Clusters"


def add_commands(app: typer.Typer) -> None:
    app.command(rich_help_panel=_PANEL)(deploy)
    app.command(rich_help_panel=_PANEL)(rollback)
    app.command(rich_help_panel=_PANEL)(uninstall)
