"""``batch-gateway migrate``: brings the metadata database's schema up to date.

On a cluster the Job ``migrate`` runs it with each release; the embedded platform needs no such
command. Running it twice, or twice at once, is harmless.
"""

from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from batch_gateway.cli.output import AsJson, print_json
from batch_gateway.cli.tables import print_text

if TYPE_CHECKING:
    from batch_gateway.settings import Settings

_PAUSE_S = 1.0


def migrate(
    wait: Annotated[
        float, Option(min=0, help="Seconds to wait for a database that does not answer.")
    ] = 60.0,
    json: AsJson = False,
) -> None:
    """Bring the metadata database's schema up to date, and say what was done."""
    import asyncio

    from batch_gateway.core.errors import BatchGatewayError
    from batch_gateway.settings import WrongSetting, read_settings

    try:
        told = asyncio.run(_patiently(read_settings(), wait))
    except (BatchGatewayError, WrongSetting) as error:
        print_text(f"batch-gateway: {error}", err=True)
        raise typer.Exit(1) from error
    if json:
        print_json({"result": told})
    else:
        typer.echo(told)


async def _patiently(settings: "Settings", wait_s: float) -> str:
    """Migrate, again and again while the database is away. Raises BatchGatewayError."""
    import asyncio

    from batch_gateway.core.errors import Unavailable
    from batch_gateway.wiring.stores import migrate_metadata

    give_up = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            return await migrate_metadata(settings)
        except Unavailable as error:
            if asyncio.get_running_loop().time() >= give_up:
                raise
            print_text(f"batch-gateway: waiting, {error}", err=True)
        await asyncio.sleep(_PAUSE_S)
