"""The page of a batch in the service's web console, if the service has one."""

import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json, ServiceClient


def tell_page(service: "ServiceClient", batch: "Json") -> None:
    """Print its address, for a person at a terminal: on standard error, on a line of its own."""
    if sys.stderr.isatty() and (url := service.console_url(batch["id"])) is not None:
        typer.echo(url, err=True)


def with_page(service: "ServiceClient", batch: "Json") -> "Json":
    """``batch`` with its address as ``console_url``."""
    url = service.console_url(batch["id"])
    return batch if url is None else batch | {"console_url": url}
