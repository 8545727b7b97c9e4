"""``models``: lists the models that requests may name."""

import typer

from batch_gateway.cli.batches.options import AsJson, ConnectionOptions
from batch_gateway.cli.errors import report_errors


@report_errors
def models(to: ConnectionOptions, json: AsJson = False) -> None:
    """Print the models that are served, a name on each line."""
    from batch_gateway.cli.batches.printing import as_json

    with to.service() as service:
        found = service.get("/models")
    for model in found["data"]:
        typer.echo(as_json(model) if json else model["id"])
