"""``batch-gateway status``: running functions, waiting batches, and what blocks them."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from batch_gateway.cli.cluster.options import ClusterOptions
from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.metadata_settings import LocalPlatformOption
from batch_gateway.cli.output import AsJson, print_json
from batch_gateway.cli.tables import print_text

if TYPE_CHECKING:
    from batch_gateway.cli.cluster.kube import ClusterClient
    from batch_gateway.cli.status.deployed import StatusTable
    from batch_gateway.cli.status.figures import StatusFigures

PAUSE_S = 2.0
_TOKEN = "BATCH_GATEWAY_METRICS__TOKEN"


@report_errors
def status(
    machine: LocalPlatformOption,
    place: ClusterOptions,
    stores: Annotated[
        bool,
        Option("--stores", help="Only the state, from the stores that this environment names."),
    ] = False,
    url: Annotated[
        str | None,
        Option(metavar="URL", help="Where the API is; default: as the cluster says."),
    ] = None,
    watch: Annotated[bool, Option("--watch", "-w", help="Again and again, until Ctrl-C.")] = False,
    json: AsJson = False,
) -> None:
    """Print what runs on a cluster or on this machine, and what there is to do."""
    if stores:
        look = _of_stores
    elif machine.data is not None:
        look = partial(_of_machine, machine.data.resolve())
    else:
        look = partial(_of_cluster, place.cluster(or_machine=True), url)
    while True:
        found = look()
        if json:
            print_json(found.plain(), indent=None if watch else 2)
        else:
            _print(found, clear=watch and sys.stdout.isatty())
        if not watch:
            return
        time.sleep(PAUSE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What runs, and the state of the service."""

    tables: "Sequence[StatusTable]" = ()
    figures: "StatusFigures | None" = None
    unknown: str = ""  # why ``figures`` is None

    def plain(self) -> dict[str, object]:
        state = None if self.figures is None else self.figures.plain()
        reason = {"unknown": self.unknown} if self.unknown else {}
        return {**{table.name: table.plain() for table in self.tables}, "state": state, **reason}


def _of_stores() -> _Found:
    from batch_gateway.cli.status.figures import from_stores

    return _Found(figures=from_stores())


def _of_machine(data: Path) -> _Found:
    from batch_gateway.cli.status.deployed import on_machine, url_of
    from batch_gateway.cli.status.figures import from_page

    url = url_of(data)
    return _Found(tables=list(on_machine(data)), figures=from_page(url, os.environ.get(_TOKEN)))


def _of_cluster(cluster: "ClusterClient", url: str | None) -> _Found:
    """The API of a cluster may be out of reach from here: the state is unknown then."""
    from batch_gateway.cli.cluster.secrets import decoded
    from batch_gateway.cli.status.deployed import SERVING, on_cluster
    from batch_gateway.cli.status.figures import from_page

    tables = list(on_cluster(cluster))
    api = cluster.get(SERVING, "Service", "api") or {}
    where = url or (api.get("status") or {}).get("url")
    if where is None:
        return _Found(tables=tables, unknown="the Service api has no URL")
    secret = decoded(cluster.get("v1", "Secret", "batch-gateway-secrets"))
    try:
        return _Found(tables=tables, figures=from_page(where, secret.get(_TOKEN)))
    except CommandError as error:
        return _Found(tables=tables, unknown=str(error))


def _print(found: _Found, *, clear: bool) -> None:
    from batch_gateway.cli.status.figures import described

    if clear:
        typer.echo("\x1b[H\x1b[2J", nl=False)
    for table in found.tables:
        for line in table.lines():
            print_text(line)
        typer.echo("")
    if found.figures is None:
        print_text(f"the state is not known: {found.unknown}")
        return
    for line in described(found.figures):
        print_text(line)
