"""The message of ``up`` when it is ready: a block on a terminal, one line elsewhere."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from batch_gateway.cli.output import print_json
from batch_gateway.cli.tables import print_text

if TYPE_CHECKING:
    from batch_gateway.cli.probing import ProbeResult
    from batch_gateway.local.platform import LocalPlatform

_PATIENCE_S = 3.0  # for the model endpoint
_MOST_MODELS = 6  # named


async def announce(platform: "LocalPlatform", *, temporary: bool, json: bool) -> None:
    """Print where everything is, and warn where the model endpoint does not answer.

    Programs that start `up` wait for the first line; it does not wait for the endpoint.
    """
    from batch_gateway.cli.probing import probed

    terminal = sys.stdout.isatty() and not json
    if json:
        print_json(_plain(platform, temporary=temporary), indent=None)
    else:
        typer.echo(f"Batch Gateway is ready: {platform.base_url}")
    if not terminal and not json:
        for url in platform.broker_urls:
            print_text(f"batch-gateway: events are taken at {url}", err=True)
    sys.stdout.flush()
    inference = platform.settings.inference
    found = None
    if inference.routes is None:
        found = await probed(inference, timeout_s=_PATIENCE_S)
    if terminal:
        for name, value in _fields(platform, found, temporary=temporary):
            typer.echo(f"  {name:<9}{value}")
        typer.echo("Ctrl-C ends it.")
    elif found is not None and not found.good:
        print_text(f"batch-gateway: {_trouble(found)}", err=True)


def _plain(platform: "LocalPlatform", *, temporary: bool) -> dict[str, Any]:
    return {
        "url": platform.base_url,
        "docs": f"{platform.url}/docs",
        "console": platform.console_url,
        "brokers": list(platform.broker_urls),
        "data": str(platform.data),
        "temporary": temporary,
        "auth": platform.settings.auth.kind,
    }


def _fields(
    platform: "LocalPlatform", found: "ProbeResult | None", *, temporary: bool
) -> Iterator[tuple[str, str]]:
    yield "API", platform.base_url
    yield "Docs", f"{platform.url}/docs"
    if platform.console_url is not None:
        yield "Console", platform.console_url
    for url in platform.broker_urls:
        yield "Broker", url
    fate = "; temporary: it goes when `up` ends. --data DIR keeps it" if temporary else ""
    yield "Data", f"{platform.data}{fate}"
    kind = platform.settings.auth.kind
    yield "Auth", "none: every client that reaches the API may use it" if kind == "none" else kind
    if found is None:
        yield "Models", f"as {platform.settings.inference.routes} says"
    elif found.good:
        yield "Models", _named(found)
    else:
        yield "Models", _trouble(found)


def _named(found: "ProbeResult") -> str:
    shown = ", ".join(found.models[:_MOST_MODELS]) or "none"
    more = len(found.models) - _MOST_MODELS
    rest = f" and {more} more" if more > 0 else ""
    return f"{shown}{rest} ({found.url.removesuffix('/v1/models')})"


def _trouble(found: "ProbeResult") -> str:
    where = found.url.removesuffix("/v1/models")
    if found.status is None:
        return (
            f"{where} does not answer: batches wait until it does (--inference-url names another "
            "endpoint, --simulator starts one)"
        )
    if found.status in (401, 403):
        return f"{where} answers {found.status}: set BATCH_GATEWAY_INFERENCE__API_KEY"
    return f"{where} answers {found.status} to GET /v1/models"
