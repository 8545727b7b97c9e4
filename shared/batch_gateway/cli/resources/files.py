"""``files``: the tenant's files."""

from typing import Annotated

import typer
from typer import Argument, Option

from batch_gateway.cli.batches.options import AsJson, ConnectionOptions, plain_id
from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.output import JsonLines, Output, Yes

files = typer.Typer(
    name="files", help="Upload, list, fetch and delete files.", no_args_is_help=True
)

FileId = Annotated[str, Argument(metavar="FILE_ID", help="The file's id: file-...")]


@files.command("list")
@report_errors
def list_(
    to: ConnectionOptions,
    limit: Annotated[int, Option(min=1, help="Most files to print, the newest first.")] = 20,
    purpose: Annotated[str | None, Option(help="Only those: batch, batch_output, ...")] = None,
    json: JsonLines = False,
) -> None:
    """Print the tenant's files."""
    from batch_gateway.cli.batches.printing import as_json, instant
    from batch_gateway.cli.resources.listing import every
    from batch_gateway.cli.tables import print_table

    with to.service() as service:
        found = list(every(service, "/files", limit, purpose=purpose))
    if json:
        for file in found:
            typer.echo(as_json(file))
        return
    titles = ("ID", "BYTES", "PURPOSE", "CREATED", "EXPIRES", "NAME")
    rows = (
        (
            file["id"],
            str(file["bytes"]),
            file["purpose"],
            instant(file["created_at"]),
            instant(file.get("expires_at")),
            file["filename"],
        )
        for file in found
    )
    print_table(titles, rows)


@files.command()
@report_errors
def upload(
    file: Annotated[str, Argument(metavar="FILE", help="Requests as JSONL; -: standard input.")],
    to: ConnectionOptions,
    json: AsJson = False,
) -> None:
    """Upload a file of requests and print its id; `submit` does this by itself."""
    from batch_gateway.cli.batches.printing import as_json
    from batch_gateway.cli.batches.progress_view import uploading
    from batch_gateway.cli.batches.source import InputSource

    with to.service() as service, InputSource.open(file) as source, uploading(source):
        uploaded = service.upload(source)
    typer.echo(as_json(uploaded, indent=2) if json else uploaded["id"])


@files.command()
@report_errors
def get(file: FileId, to: ConnectionOptions, json: AsJson = False) -> None:
    """Print everything about a file but its content."""
    from batch_gateway.cli.batches.printing import as_json, described
    from batch_gateway.cli.tables import print_fields

    with to.service() as service:
        found = service.get(f"/files/{plain_id(file)}")
    if json:
        typer.echo(as_json(found, indent=2))
    else:
        print_fields(described(found))


@files.command()
@report_errors
def content(
    file: FileId,
    to: ConnectionOptions,
    output: Output = None,
) -> None:
    """Print the content of a file."""
    from batch_gateway.cli.batches.results import copy_file, target_of

    with to.service() as service, target_of(output) as target:
        copy_file(service, plain_id(file), target)


@files.command()
@report_errors
def delete(
    names: Annotated[list[str], Argument(metavar="FILE_ID", help="The file's id: file-...")],
    to: ConnectionOptions,
    yes: Yes = False,
    json: JsonLines = False,
) -> None:
    """Delete files for good."""
    from batch_gateway.cli.batches.printing import print_deleted

    found = [plain_id(name) for name in names]
    what = f"{len(found)} file{'s' * (len(found) != 1)}"
    if not yes and not typer.confirm(f"Delete {what} for good?", err=True):
        raise CommandError("nothing was deleted")
    with to.service() as service:
        for name in found:
            service.delete(f"/files/{name}")
            print_deleted(name, json=json)
