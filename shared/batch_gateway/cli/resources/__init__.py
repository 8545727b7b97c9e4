"""Commands for what a tenant has besides batches: files, models, webhook endpoints."""

import typer

from batch_gateway.cli.resources.files import files
from batch_gateway.cli.resources.models import models
from batch_gateway.cli.resources.webhooks import webhooks


def add_commands(app: typer.Typer) -> None:
    """The commands that ``batch-gateway`` and ``kn batch`` have in common."""
    app.add_typer(files, rich_help_panel="Batches")
    app.command("models", rich_help_panel="Batches")(models)
    app.add_typer(webhooks, rich_help_panel="Batches")
