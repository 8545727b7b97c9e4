"""``webhooks``: the endpoints that get a request when a batch has ended."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from batch_gateway.cli.batches.options import AsJson, ConnectionOptions, plain_id
from batch_gateway.cli.errors import report_errors
from batch_gateway.cli.output import JsonLines

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json

webhooks = typer.Typer(
    name="webhooks",
    help="Endpoints that are called when a batch has ended.",
    no_args_is_help=True,
)

_PATH = "/webhook_endpoints"
Endpoint = Annotated[
    str, Argument(metavar="ENDPOINT", help="The id that `create` and `list` print: we_...")
]
Events = Annotated[
    list[str] | None,
    Option(
        "--event",
        help="A type of `webhooks event-types`; may be given several times. Default: all of them.",
    ),
]


@webhooks.command("list")
@report_errors
def list_(
    to: ConnectionOptions,
    limit: Annotated[int, Option(min=1, help="Most endpoints to print.")] = 20,
    json: JsonLines = False,
) -> None:
    """Print the tenant's endpoints."""
    from batch_gateway.cli.batches.printing import as_json, instant
    from batch_gateway.cli.resources.listing import every
    from batch_gateway.cli.tables import print_table

    with to.service() as service:
        found = list(every(service, _PATH, limit))
    if json:
        for each in found:
            typer.echo(as_json(each))
        return
    rows = (
        (
            each["id"],
            f"disabled {instant(each['disabled_at'])}" if each.get("disabled_at") else "active",
            each["name"],
            each["url"],
            ", ".join(each["event_types"]),
        )
        for each in found
    )
    print_table(("ID", "STATE", "NAME", "URL", "EVENTS"), rows)


@webhooks.command()
@report_errors
def create(
    receiver: Annotated[str, Argument(metavar="WEBHOOK_URL", help="Where the requests go.")],
    to: ConnectionOptions,
    name: Annotated[str, Option(help="What it is for.")] = "batch-gateway",
    events: Events = None,
    json: AsJson = False,
) -> None:
    """Make an endpoint and print its id and its secret, which cannot be seen again."""
    with to.service() as service:
        types = events or service.get("/webhook_event_types")["data"]
        made = service.post(_PATH, {"name": name, "url": receiver, "event_types": types})
    _print_secret(made, json=json)


@webhooks.command()
@report_errors
def get(endpoint: Endpoint, to: ConnectionOptions, json: AsJson = False) -> None:
    """Print everything about an endpoint but its secret."""
    with to.service() as service:
        found = service.get(f"{_PATH}/{plain_id(endpoint)}")
    _print(found, json=json)


@webhooks.command()
@report_errors
def update(
    endpoint: Endpoint,
    to: ConnectionOptions,
    target: Annotated[
        str | None, Option("--to", metavar="WEBHOOK_URL", help="Where the requests go.")
    ] = None,
    name: Annotated[str | None, Option(help="What it is for.")] = None,
    events: Events = None,
    json: AsJson = False,
) -> None:
    """Change an endpoint; one that was disabled is active again."""
    asked: dict[str, Any] = {"url": target, "name": name, "event_types": events}
    body = {field: value for field, value in asked.items() if value}
    with to.service() as service:
        changed = service.post(f"{_PATH}/{plain_id(endpoint)}", body)
    _print(changed, json=json)


@webhooks.command()
@report_errors
def rotate(
    endpoint: Endpoint,
    to: ConnectionOptions,
    keep: Annotated[
        bool, Option("--keep", help="Sign with the old secret too, for 24 hours.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Give an endpoint a new secret and print it."""
    body = {"keep_old_secret_active_for_24_hours": keep}
    with to.service() as service:
        made = service.post(f"{_PATH}/{plain_id(endpoint)}/rotate_secret", body)
    _print_secret(made, json=json)


@webhooks.command("test")
@report_errors
def send_test(
    endpoint: Endpoint,
    to: ConnectionOptions,
    event: Annotated[str, Option(help="The type of the example.")] = "batch.completed",
    json: AsJson = False,
) -> None:
    """Send an example to an endpoint, and print what it answered."""
    from batch_gateway.cli.batches.printing import as_json

    with to.service() as service:
        found = service.post(f"{_PATH}/{plain_id(endpoint)}/test", {"event_type": event})
    if json:
        typer.echo(as_json(found, indent=2))
    else:
        typer.echo(f"{endpoint} answered {found['status_code']}")


@webhooks.command()
@report_errors
def deliveries(
    endpoint: Endpoint,
    to: ConnectionOptions,
    limit: Annotated[int, Option(min=1, help="Most to print, the newest first.")] = 20,
    json: JsonLines = False,
) -> None:
    """Print what was sent to an endpoint, and what it answered."""
    from batch_gateway.cli.batches.printing import as_json, instant
    from batch_gateway.cli.resources.listing import every
    from batch_gateway.cli.tables import print_table

    with to.service() as service:
        found = list(every(service, f"{_PATH}/{plain_id(endpoint)}/deliveries", limit))
    if json:
        for each in found:
            typer.echo(as_json(each))
        return
    rows = (
        (
            instant(each["created_at"]),
            each["event_type"],
            each["batch_id"],
            each["status"],
            str(each["attempts"]),
            str(each["status_code"] or each["error"] or "-"),
        )
        for each in found
    )
    print_table(("CREATED", "EVENT", "BATCH", "STATUS", "TRIES", "ANSWER"), rows)


@webhooks.command("event-types")
@report_errors
def event_types(to: ConnectionOptions, json: AsJson = False) -> None:
    """Print what endpoints can be told of."""
    from batch_gateway.cli.batches.printing import as_json

    with to.service() as service:
        found = service.get("/webhook_event_types")
    if json:
        typer.echo(as_json(found, indent=2))
        return
    for name in found["data"]:
        typer.echo(name)


@webhooks.command()
@report_errors
def delete(endpoint: Endpoint, to: ConnectionOptions, json: JsonLines = False) -> None:
    """Delete an endpoint: nothing is sent to it any more."""
    from batch_gateway.cli.batches.printing import print_deleted

    with to.service() as service:
        service.delete(f"{_PATH}/{plain_id(endpoint)}")
    print_deleted(endpoint, json=json)


def _print(endpoint: "Json", *, json: bool) -> None:
    from batch_gateway.cli.batches.printing import as_json, described
    from batch_gateway.cli.tables import print_fields

    if json:
        typer.echo(as_json(endpoint, indent=2))
    else:
        print_fields(described(endpoint))


def _print_secret(endpoint: "Json", *, json: bool) -> None:
    from batch_gateway.cli.batches.printing import as_json

    if json:
        typer.echo(as_json(endpoint, indent=2))
        return
    typer.echo(f"{endpoint['id']}; keep the secret, it is not shown again:", err=True)
    typer.echo(endpoint["signing_secret"])
