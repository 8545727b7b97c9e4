"""``update`` and ``delete``: change or delete a batch."""

from typing import Annotated, Any

import typer
from typer import Argument, Option

from batch_gateway.cli.batches.options import AsJson, BatchArgument, ConnectionOptions, plain_id
from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.output import JsonLines, Yes


@report_errors
def update(
    batch: BatchArgument,
    to: ConnectionOptions,
    priority: Annotated[
        int | None, Option(min=0, max=9, help="0: first, 9: last among the tenant's batches.")
    ] = None,
    window: Annotated[
        str | None, Option(help="Time from the batch's creation to its deadline: 30m, 24h, 7d.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Give a batch that has not ended another priority or deadline."""
    from batch_gateway.cli.batches.printing import as_json
    from batch_gateway.cli.batches.progress_view import line

    body: dict[str, Any] = {}
    if priority is not None:
        body["priority"] = priority
    if window is not None:
        body["completion_window"] = window
    if not body:
        raise typer.BadParameter("name what to change: --priority or --window")
    with to.service() as service:
        changed = service.post(f"/batches/{plain_id(batch)}/update", body)
    typer.echo(as_json(changed, indent=2) if json else line(changed))


@report_errors
def delete(
    batches: Annotated[list[str], Argument(metavar="BATCH", help="The batch's id: batch_...")],
    to: ConnectionOptions,
    files: Annotated[
        bool, Option("--files", help="Also its input, output and error file.")
    ] = False,
    yes: Yes = False,
    json: JsonLines = False,
) -> None:
    """Remove batches that have ended; their files stay unless asked otherwise."""
    from batch_gateway.cli.batches.printing import print_deleted

    names = [plain_id(batch) for batch in batches]
    what = f"{len(names)} batch{'es' * (len(names) != 1)}{' with all files' * files}"
    if not yes and not typer.confirm(f"Delete {what} for good?", err=True):
        raise CommandError("nothing was deleted")
    with to.service() as service:
        for name in names:
            found = service.get(f"/batches/{name}")
            service.delete(f"/batches/{name}")
            print_deleted(name, json=json)
            kinds = ("input_file_id", "output_file_id", "error_file_id") if files else ()
            for file in dict.fromkeys(found[kind] for kind in kinds if found.get(kind)):
                if service.delete_if_there(f"/files/{file}"):
                    print_deleted(file, json=json)
