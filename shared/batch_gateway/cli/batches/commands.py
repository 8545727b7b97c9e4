"""The commands for users: ``batch-gateway submit``, or ``kn batch submit``."""

from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from batch_gateway.cli.batches.exit_codes import judge, rate
from batch_gateway.cli.batches.options import (
    AsJson,
    BatchArgument,
    BatchOptions,
    ConnectionOptions,
    FailOnErrors,
    Quiet,
    pairs,
    plain_id,
)
from batch_gateway.cli.errors import report_errors
from batch_gateway.cli.output import JsonLines

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json, ServiceClient

_PAGE = 100


@report_errors
def submit(
    file: Annotated[str, Argument(metavar="FILE", help="Requests as JSONL; -: standard input.")],
    asked: BatchOptions,
    to: ConnectionOptions,
    wait: Annotated[bool, Option("--wait", help="Stay until the batch has ended.")] = False,
    fail_on_errors: FailOnErrors = None,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Upload a file of requests, make a batch of it and print its id."""
    from batch_gateway.cli.batches.console_page import tell_page, with_page
    from batch_gateway.cli.batches.printing import estimated
    from batch_gateway.cli.batches.progress_view import uploading
    from batch_gateway.cli.batches.source import InputSource

    fail_above = rate(fail_on_errors)
    notes = {"metadata": asked.notes} if asked.notes else {}
    with to.service() as service, InputSource.open(file) as source:
        body = asked.body(source) | notes
        with uploading(source, quiet=quiet):
            uploaded = service.upload(source)
        batch = service.post("/batches", body | {"input_file_id": uploaded["id"]})
        if not json:
            typer.echo(batch["id"])
            if not quiet:
                tell_page(service, batch)
        if wait or fail_above is not None:
            batch = _ended(service, batch["id"], quiet=quiet)
        if json:
            _print(with_page(service, batch))
        elif batch.get("dry_run"):
            for line in estimated(batch):
                typer.echo(line)
        judge([batch], fail_above)


@report_errors
def list_(
    to: ConnectionOptions,
    limit: Annotated[int, Option(min=1, help="Most batches to print, the newest first.")] = 20,
    status: Annotated[str | None, Option(help="Only those with this status.")] = None,
    model: Annotated[str | None, Option(help="Only those of this model.")] = None,
    metadata: Annotated[
        list[str] | None,
        Option(metavar="KEY=VALUE", help="Only those with this note; may be given several times."),
    ] = None,
    json: JsonLines = False,
) -> None:
    """Print the tenant's batches."""
    from batch_gateway.cli.batches.printing import as_json, print_batches

    only = {f"metadata[{key}]": value for key, value in pairs(metadata, "--metadata").items()}
    found: list[Json] = []
    with to.service() as service:
        while len(found) < limit:
            page = service.get(
                "/batches",
                limit=min(_PAGE, limit - len(found)),
                after=found[-1]["id"] if found else None,
                status=status,
                model=model,
                **only,
            )
            found += page["data"]
            if not page["has_more"] or not page["data"]:
                break
    if not json:
        print_batches(found)
        return
    for batch in found:
        typer.echo(as_json(batch))


@report_errors
def get(
    batch: BatchArgument,
    to: ConnectionOptions,
    json: AsJson = False,
) -> None:
    """Print everything about a batch."""
    from batch_gateway.cli.batches.console_page import tell_page, with_page
    from batch_gateway.cli.batches.printing import described
    from batch_gateway.cli.tables import print_fields

    with to.service() as service:
        found = service.get(f"/batches/{plain_id(batch)}")
        if json:
            _print(with_page(service, found))
            return
        print_fields(described(found))
        tell_page(service, found)


@report_errors
def progress(
    batch: BatchArgument,
    to: ConnectionOptions,
    follow: Annotated[
        bool, Option("--follow", "-f", help="Stay until the batch has ended.")
    ] = False,
    fail_on_errors: FailOnErrors = None,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Print how far a batch is."""
    from batch_gateway.cli.batches.progress_view import line

    fail_above = rate(fail_on_errors)
    with to.service() as service:
        if follow:
            found = _ended(service, batch, quiet=quiet)
        else:
            found = service.get(f"/batches/{plain_id(batch)}")
    if json:
        _print(found)
    elif not follow:
        typer.echo(line(found))
    judge([found], fail_above)


@report_errors
def cancel(
    batch: BatchArgument,
    to: ConnectionOptions,
    json: AsJson = False,
) -> None:
    """End a batch; what is finished is kept."""
    _change(batch, "cancel", to.service(), json=json)


@report_errors
def pause(
    batch: BatchArgument,
    to: ConnectionOptions,
    json: AsJson = False,
) -> None:
    """Start no more requests of a batch; its deadline stays."""
    _change(batch, "pause", to.service(), json=json)


@report_errors
def resume(
    batch: BatchArgument,
    to: ConnectionOptions,
    json: AsJson = False,
) -> None:
    """Resume a paused batch."""
    _change(batch, "resume", to.service(), json=json)


@report_errors
def retry(
    batch: BatchArgument,
    to: ConnectionOptions,
    errors: Annotated[
        list[str] | None,
        Option(
            "--error",
            metavar="CODE",
            help="Only what failed with this code; may be given several times.",
        ),
    ] = None,
    window: Annotated[
        str | None, Option(help="Time until the deadline; default: that of the batch.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Run what failed in a batch that has ended again, as a new batch, and print its id."""
    from batch_gateway.cli.batches.summary import check_selection

    asked = {"errors": errors or None, "completion_window": window}
    body = {name: value for name, value in asked.items() if value is not None}
    with to.service() as service:
        if errors:
            check_selection(service, service.get(f"/batches/{plain_id(batch)}"), errors)
        made = service.post(f"/batches/{plain_id(batch)}/retry", body)
    if json:
        _print(made)
    else:
        typer.echo(made["id"])


def _change(batch: str, verb: str, connection: "ServiceClient", *, json: bool) -> None:
    from batch_gateway.cli.batches.progress_view import line

    with connection as service:
        found = service.post(f"/batches/{plain_id(batch)}/{verb}")
    if json:
        _print(found)
    else:
        typer.echo(line(found))


def _ended(service: "ServiceClient", batch: str, *, quiet: bool) -> "Json":
    from batch_gateway.cli.batches.progress_view import follow
    from batch_gateway.cli.batches.summary import print_classes

    ended = follow(service, plain_id(batch), quiet=quiet)
    if not quiet:
        print_classes(service, ended)
    return ended


def _print(batch: "Json") -> None:
    from batch_gateway.cli.batches.printing import as_json

    typer.echo(as_json(batch, indent=2))
