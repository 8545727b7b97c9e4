"""``batch-gateway status``: what runs, what waits, and what holds it up."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from batch_gateway.cli.cluster.options import (
    DEFAULT_NAMESPACE,
    Context,
    Kubeconfig,
    Namespace,
    connect,
)
from batch_gateway.cli.failing import CommandError, reported

PAUSE_S = 2.0
_TOKEN = "BATCH_GATEWAY_METRICS__TOKEN"


@reported
def status(
    data: Annotated[
        Path | None,
        Option(metavar="DIR", help="Folder of `batch-gateway up --data`: of this machine."),
    ] = None,
    stores: Annotated[
        bool,
        Option("--stores", help="Only the state, from the stores that this environment names."),
    ] = False,
    url: Annotated[
        str | None,
        Option(metavar="URL", help="Where the API is; default: as the cluster says."),
    ] = None,
    watch: Annotated[bool, Option("--watch", "-w", help="Again and again, until Ctrl-C.")] = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print what runs on a cluster or on this machine, and what there is to do."""
    if stores:
        look = _stores
    elif data is not None:
        folder = data.resolve()

        def look() -> Iterator[str]:
            return _machine(folder)

    else:
        cluster = connect(namespace, kubeconfig, context)

        def look() -> Iterator[str]:
            from batch_gateway.cli.cluster.secrets import decoded
            from batch_gateway.cli.status.deployed import SERVING, on_cluster

            yield from on_cluster(cluster)
            api = cluster.get(SERVING, "Service", "api") or {}
            where = url or (api.get("status") or {}).get("url")
            secret = decoded(cluster.get("v1", "Secret", "batch-gateway-secrets"))
            yield ""
            yield from _state(where, secret.get(_TOKEN))

    _print(look, watch=watch)


def _stores() -> Iterator[str]:
    from batch_gateway.cli.status.figures import described, from_stores

    yield from described(from_stores())


def _machine(data: Path) -> Iterator[str]:
    from batch_gateway.cli.status.deployed import on_machine, url_of
    from batch_gateway.cli.status.figures import described, from_page

    url = url_of(data)
    yield from on_machine(data)
    yield ""
    yield from described(from_page(url, os.environ.get(_TOKEN)))


def _state(url: str | None, token: str | None) -> Iterator[str]:
    """What the API tells; a cluster's may be out of reach from here."""
    from batch_gateway.cli.status.figures import described, from_page

    if url is None:
        yield "the state is not known: the Service api has no URL"
        return
    try:
        yield from described(from_page(url, token))
    except CommandError as error:
        yield f"the state is not known: {error}"


def _print(look: Callable[[], Iterator[str]], *, watch: bool) -> None:
    while True:
        lines = list(look())
        if watch and sys.stdout.isatty():
            typer.echo("\x1b[H\x1b[2J", nl=False)
        for line in lines:
            typer.echo(line)
        if not watch:
            return
        time.sleep(PAUSE_S)
