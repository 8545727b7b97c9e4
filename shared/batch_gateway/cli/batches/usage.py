"""``batch-gateway usage``: requests, tokens and cost by day."""

import time
from typing import Annotated, Any

import typer
from typer import Option

from batch_gateway.cli.batches.options import AsJson, ConnectionOptions
from batch_gateway.cli.errors import report_errors

_DAY = 86_400
_GROUPS = {"tenant": "project_id", "key": "api_key_id", "model": "model"}


@report_errors
def usage(
    to: ConnectionOptions,
    days: Annotated[int, Option(min=1, max=180, help="How many days, today included (UTC).")] = 30,
    by: Annotated[
        str, Option(metavar="WORDS", help="Groups: any of model, key and tenant, with commas.")
    ] = "model",
    csv: Annotated[bool, Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print requests, tokens and cost of batches by the day on which they ended."""
    groups = [word for word in by.split(",") if word]
    for word in groups:
        if word not in _GROUPS:
            raise typer.BadParameter(f"--by takes {', '.join(_GROUPS)}, not {word}")
    today = int(time.time()) // _DAY * _DAY
    query = {
        "start_time": str(today - (days - 1) * _DAY),
        "limit": str(days),
        "group_by": ",".join(_GROUPS[word] for word in groups),
    }
    with to.service() as service:
        if csv:
            with service.stream("/usage", format="csv", **query) as answer:
                for text in answer.iter_text():
                    typer.echo(text, nl=False)
            return
        page = service.get("/usage", **query)
    if as_json:
        import json

        typer.echo(json.dumps(page))
        return
    _print(page, groups)


def _print(page: dict[str, Any], groups: list[str]) -> None:
    from datetime import UTC, datetime

    from batch_gateway.cli.tables import print_table

    titles = ("DAY", *(word.upper() for word in groups), *_TITLES)
    rows = [
        (
            f"{datetime.fromtimestamp(bucket['start_time'], UTC):%Y-%m-%d}",
            *(result[_GROUPS[word]] or "-" for word in groups),
            *(str(result[name]) for name in _NUMBERS),
            _cost(result["cost"]),
        )
        for bucket in page["data"]
        for result in bucket["results"]
    ]
    if not rows:
        typer.echo("no batch has ended in these days")
        return
    print_table(titles, rows)


_TITLES = ("BATCHES", "COMPLETED", "FAILED", "NOT RUN", "INPUT", "CACHED", "OUTPUT", "COST")
_NUMBERS = (
    "num_batches",
    "completed_requests",
    "failed_requests",
    "not_run_requests",
    "input_tokens",
    "input_cached_tokens",
    "output_tokens",
)


def _cost(cost: dict[str, str] | None) -> str:
    return "-" if cost is None else f"{cost['value']} {cost['currency']}"
