"""``batch-gateway up``: runs the whole service on this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from batch_gateway.cli.tables import print_text
from batch_gateway.option_groups import unfolded

if TYPE_CHECKING:
    from batch_gateway.local.platform import PlatformOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressOptions:
    """Where the service listens, and further subscribers of its events."""

    port: Annotated[int, Option(min=0, max=65535, help="Port to listen on; 0: any free.")] = 8080
    host: Annotated[
        str, Option(help="Address to listen on; beyond loopback only with an authenticator.")
    ] = "127.0.0.1"
    broker_port: Annotated[
        int, Option(min=0, max=65535, help="Port of the broker on 127.0.0.1; 0: any free.")
    ] = 0
    trigger: Annotated[
        list[Path] | None,
        Option(
            help="YAML file of further Triggers whose subscriber is a uri; may be given several "
            "times.",
            dir_okay=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenOptions:
    """What only tests and benchmarks need."""

    manifests: Annotated[
        Path | None, Option(help="Folder of knative/ and eventing/.", hidden=True)
    ] = None
    speed_up: Annotated[
        float, Option(min=1, help="Divides idle windows, timer periods and pauses.", hidden=True)
    ] = 1.0
    faults: Annotated[bool, Option("--faults", hidden=True)] = False


@unfolded
def up(
    address: AddressOptions,
    hidden: HiddenOptions,
    data: Annotated[
        Path | None,
        Option(help="Folder to keep everything in; default: a temporary one.", file_okay=False),
    ] = None,
    inference_url: Annotated[
        str | None, Option(help="OpenAI-compatible endpoint, without /v1.")
    ] = None,
    simulator: Annotated[
        bool, Option("--simulator", help="Start a model simulator and send the requests there.")
    ] = False,
    config: Annotated[
        Path | None, Option(help="YAML file with groups of settings.", dir_okay=False)
    ] = None,
    json: Annotated[
        bool, Option("--json", help="Print where everything is as one line of JSON.")
    ] = False,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    if simulator and inference_url:
        raise typer.BadParameter("--simulator and --inference-url exclude each other")

    import uvloop  # after the options: --help stays quick

    from batch_gateway.local.platform import PlatformError, PlatformOptions

    options = PlatformOptions(
        host=address.host,
        port=address.port,
        broker_port=address.broker_port,
        triggers=tuple(address.trigger or ()),
        data=data,
        inference_url=inference_url,
        simulator=simulator,
        config=config,
        root=hidden.manifests.resolve() if hidden.manifests else None,
        speed_up=hidden.speed_up,
        faults=hidden.faults,
    )
    try:
        uvloop.run(_serve(options, json=json))
    except PlatformError as error:
        for line in str(error).splitlines():
            print_text(f"batch-gateway: {line}", err=True)
        raise typer.Exit(1) from error


async def _serve(options: "PlatformOptions", *, json: bool) -> None:
    import asyncio
    import logging
    import signal

    from batch_gateway.cli.announcement import announce
    from batch_gateway.local.platform import LocalPlatform
    from batch_gateway.settings.spelling import unknown_variables

    for line in unknown_variables():
        print_text(f"batch-gateway: {line}", err=True)
    logging.basicConfig(level=logging.WARNING, format="batch-gateway: %(message)s")
    platform = LocalPlatform(options)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup does with SIGHUP
            asyncio.get_running_loop().add_signal_handler(number, platform.stop)
    async with platform:
        await announce(platform, temporary=options.data is None, json=json)
        await platform.stopped()
