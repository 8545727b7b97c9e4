"""Commands for files of requests, before and after a batch. They need no service."""

import typer

from batch_gateway.cli.inputs import check, convert, parts, set_model

_PANEL = "Files of requests"


def add_commands(app: typer.Typer) -> None:
    """The commands that ``batch-gateway`` and ``kn batch`` have in common."""
    for name, command in (
        ("check", check.check),
        ("estimate", check.estimate),
        ("convert", convert.convert),
        ("sample", parts.sample),
        ("split", parts.split),
        ("merge", parts.merge),
        ("set-model", set_model.set_model),
    ):
        app.command(name, rich_help_panel=_PANEL)(command)
