"""``batch-gateway report``."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Option

from batch_gateway.cli.batches.options import BatchArgument, ConnectionOptions, plain_id
from batch_gateway.cli.errors import report_errors
from batch_gateway.cli.output import Output


@report_errors
def report(
    batch: BatchArgument,
    to: ConnectionOptions,
    form: Annotated[
        Literal["text", "json", "html"] | None,
        Option("--format", help="Default: by the name of OUT, or text."),
    ] = None,
    output: Output = None,
    json: Annotated[bool, Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print how a batch went: phases, throughput, latency, tokens, cache, retries, errors."""
    from batch_gateway.cli.batches.results import target_of
    from batch_gateway.cli.report.content import gathered

    if json and form not in (None, "json"):
        raise typer.BadParameter(f"--json and --format {form} exclude each other")

    with to.service() as service:
        found = gathered(service, plain_id(batch))
    chosen = "json" if json else form or _by_name(output)
    if chosen == "json":
        from batch_gateway.cli.batches.printing import as_json

        text = as_json(found.plain(), indent=2) + "\n"
    elif chosen == "html":
        from batch_gateway.cli.report.page import page

        text = page(found)
    else:
        from batch_gateway.cli.report.text import lines

        text = "".join(f"{line}\n" for line in lines(found))
    if output is None:
        typer.echo(text, nl=False)
        return
    with target_of(output) as target:
        target.write(text.encode())


def _by_name(output: Path | None) -> Literal["text", "json", "html"]:
    suffix = "" if output is None else output.suffix.lower()
    if suffix in (".html", ".htm"):
        return "html"
    return "json" if suffix == ".json" else "text"
