"""The commands themselves: ``batch-gateway submit``, or ``kn batch submit``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from batch_gateway.cli.batches.judging import judge, rate
from batch_gateway.cli.batches.options import (
    AsJson,
    BatchArgument,
    FailOnErrors,
    Headers,
    Key,
    Quiet,
    Url,
    connect,
    fields,
    pairs,
    plain_id,
)
from batch_gateway.cli.failing import reported

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json, Service

_ENDPOINT = "/v1/chat/completions"
_PAGE = 100


@reported
def submit(
    file: Annotated[str, Argument(metavar="FILE", help="Requests as JSONL; -: standard input.")],
    endpoint: Annotated[
        str | None, Option(help="Where the requests go; default: the first request's url.")
    ] = None,
    window: Annotated[str, Option(help="Time until the deadline: 30m, 24h, 7d.")] = "24h",
    metadata: Annotated[
        list[str] | None,
        Option(metavar="KEY=VALUE", help="A note on the batch; may be given several times."),
    ] = None,
    field: Annotated[
        list[str] | None,
        Option(
            metavar="NAME=JSON",
            help="Any other field, such as priority=0 or dry_run=true; may be given several times.",
        ),
    ] = None,
    wait: Annotated[bool, Option("--wait", help="Stay until the batch has ended.")] = False,
    fail_on_errors: FailOnErrors = None,
    quiet: Quiet = False,
    json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
    header: Headers = None,
) -> None:
    """Upload a file of requests, make a batch of it and print its id."""
    from batch_gateway.cli.batches.following import uploading
    from batch_gateway.cli.batches.printing import estimated
    from batch_gateway.cli.batches.source import Source

    fail_above = rate(fail_on_errors)
    body: dict[str, Any] = {"completion_window": window, **fields(field)}
    if notes := pairs(metadata, "--metadata"):
        body["metadata"] = notes
    with connect(url, api_key, header) as service, Source.open(file) as source:
        body["endpoint"] = endpoint or source.first_url() or _ENDPOINT
        with uploading(source, quiet=quiet):
            uploaded = service.upload(source)
        batch = service.post("/batches", body | {"input_file_id": uploaded["id"]})
        if not json:
            typer.echo(batch["id"])
        if wait or fail_above is not None:
            batch = _ended(service, batch["id"], quiet=quiet)
        if json:
            _print(batch)
        elif batch.get("dry_run"):
            for line in estimated(batch):
                typer.echo(line)
        judge([batch], fail_above)


@reported
def list_(
    limit: Annotated[int, Option(min=1, help="Most batches to print, the newest first.")] = 20,
    status: Annotated[str | None, Option(help="Only those with this status.")] = None,
    model: Annotated[str | None, Option(help="Only those of this model.")] = None,
    metadata: Annotated[
        list[str] | None,
        Option(metavar="KEY=VALUE", help="Only those with this note; may be given several times."),
    ] = None,
    json: Annotated[bool, Option("--json", help="Print each batch as a line of JSON.")] = False,
    url: Url = None,
    api_key: Key = None,
    header: Headers = None,
) -> None:
    """Print the tenant's batches."""
    from batch_gateway.cli.batches.printing import as_json, table

    only = {f"metadata[{key}]": value for key, value in pairs(metadata, "--metadata").items()}
    found: list[Json] = []
    with connect(url, api_key, header) as service:
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
    for line in map(as_json, found) if json else table(found):
        typer.echo(line)


@reported
def get(
    batch: BatchArgument,
    json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
    header: Headers = None,
) -> None:
    """Print everything about a batch."""
    from batch_gateway.cli.batches.printing import described

    with connect(url, api_key, header) as service:
        found = service.get(f"/batches/{plain_id(batch)}")
    if json:
        _print(found)
        return
    for line in described(found):
        typer.echo(line)


@reported
def progress(
    batch: BatchArgument,
    follow: Annotated[
        bool, Option("--follow", "-f", help="Stay until the batch has ended.")
    ] = False,
    fail_on_errors: FailOnErrors = None,
    quiet: Quiet = False,
    json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
    header: Headers = None,
) -> None:
    """Print how far a batch is."""
    from batch_gateway.cli.batches.following import line

    fail_above = rate(fail_on_errors)
    with connect(url, api_key, header) as service:
        if follow:
            found = _ended(service, batch, quiet=quiet)
        else:
            found = service.get(f"/batches/{plain_id(batch)}")
    if json:
        _print(found)
    elif not follow:
        typer.echo(line(found))
    judge([found], fail_above)


@reported
def cancel(
    batch: BatchArgument,
    json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
    header: Headers = None,
) -> None:
    """End a batch; what is finished is kept."""
    _change(batch, "cancel", connect(url, api_key, header), json=json)


@reported
def pause(
    batch: BatchArgument,
    json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
    header: Headers = None,
) -> None:
    """Start no more requests of a batch; its deadline stays."""
    _change(batch, "pause", connect(url, api_key, header), json=json)


@reported
def resume(
    batch: BatchArgument,
    json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
    header: Headers = None,
) -> None:
    """Go on with a paused batch."""
    _change(batch, "resume", connect(url, api_key, header), json=json)


@reported
def retry(
    batch: BatchArgument,
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
    url: Url = None,
    api_key: Key = None,
    header: Headers = None,
) -> None:
    """Run what failed in a batch that has ended again, as a new batch, and print its id."""
    asked = {"errors": errors or None, "completion_window": window}
    body = {name: value for name, value in asked.items() if value is not None}
    with connect(url, api_key, header) as service:
        made = service.post(f"/batches/{plain_id(batch)}/retry", body)
    if json:
        _print(made)
    else:
        typer.echo(made["id"])


def _change(batch: str, verb: str, connection: "Service", *, json: bool) -> None:
    from batch_gateway.cli.batches.following import line

    with connection as service:
        found = service.post(f"/batches/{plain_id(batch)}/{verb}")
    if json:
        _print(found)
    else:
        typer.echo(line(found))


def _ended(service: "Service", batch: str, *, quiet: bool) -> "Json":
    from batch_gateway.cli.batches.following import follow

    return follow(service, plain_id(batch), quiet=quiet)


def _print(batch: "Json") -> None:
    from batch_gateway.cli.batches.printing import as_json

    typer.echo(as_json(batch, indent=2))
