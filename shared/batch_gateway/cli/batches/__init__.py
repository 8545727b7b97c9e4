"""Commands for users of a running service: submit, follow, fetch. They use its HTTP API only."""

import typer

from batch_gateway.cli.batches import changes, commands, events, results
from batch_gateway.cli.batches.run import run
from batch_gateway.cli.batches.usage import usage
from batch_gateway.cli.report.command import report

_PANEL = "Batches"


def add_commands(app: typer.Typer) -> None:
    """The commands that ``batch-gateway`` and ``kn batch`` have in common."""
    for name, command in (
        ("run", run),
        ("submit", commands.submit),
        ("list", commands.list_),
        ("get", commands.get),
        ("cancel", commands.cancel),
        ("results", results.results),
        ("pause", commands.pause),
        ("resume", commands.resume),
        ("retry", commands.retry),
        ("usage", usage),
        ("update", changes.update),
        ("delete", changes.delete),
        ("events", events.events),
        ("report", report),
    ):
        app.command(name, rich_help_panel=_PANEL)(command)
