"""``batch-gateway keys``: make, list and revoke API keys, for ``auth.kind`` api-key.

They are rows of the metadata store, so this works beside a running service. The store is the one
that the settings name; for the embedded platform, ``--data`` names its folder.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from typer import Argument, Option

from batch_gateway.cli.stored import Data, settings_of

if TYPE_CHECKING:
    from batch_gateway.core.api_keys import ApiKey
    from batch_gateway.ports.metadata import ApiKeyRows
    from batch_gateway.settings import Settings

T = TypeVar("T")

keys = typer.Typer(name="keys", help="Make, list and revoke API keys.", no_args_is_help=True)


@keys.command()
def create(
    tenant: Annotated[str, Argument(help="Whose files and batches the key opens.")],
    name: Annotated[str, Option(help="Whose key it is, or what for.")] = "",
    expires_in: Annotated[str | None, Option(help="Such as 12h or 90d; default: never.")] = None,
    data: Data = None,
) -> None:
    """Make a key and print its secret, which cannot be seen again."""
    import secrets
    from datetime import UTC

    from batch_gateway.core.api_keys import (
        SECRET_BYTES,
        ApiKey,
        api_key_id,
        api_key_secret,
        digest_of,
    )
    from batch_gateway.core.ids import tenant_id

    owner = tenant_id(tenant)
    if owner is None:
        raise typer.BadParameter("a tenant's name is 1 to 128 of A-Z a-z 0-9 . _ : @ / -")
    if not name.isprintable():
        raise typer.BadParameter("a key's name is printable")
    now = datetime.now(UTC)
    secret = api_key_secret(secrets.token_bytes(SECRET_BYTES))
    key = ApiKey(
        id=api_key_id(secrets.token_bytes(8)),
        tenant=owner,
        name=name,
        digest=digest_of(secret),
        created_at=now,
        expires_at=_expiry(now, expires_in),
    )
    _run(data, lambda rows: rows.add(key))
    typer.echo(f"{key.id} for {tenant}; keep the secret, it is not stored:", err=True)
    typer.echo(secret)


@keys.command("list")
def list_(
    tenant: Annotated[str | None, Option(help="Only this tenant's keys.")] = None,
    data: Data = None,
) -> None:
    """Print all keys, without their secrets."""
    from batch_gateway.core.ids import TenantId

    owner = None if tenant is None else TenantId(tenant)
    for key in _run(data, lambda rows: rows.list(owner)):
        typer.echo("\t".join((key.id, key.tenant, _state(key), key.name)))


@keys.command()
def revoke(
    key: Annotated[str, Argument(help="The id that `create` and `list` print: key_...")],
    data: Data = None,
) -> None:
    """End a key for good; a running service refuses it within some seconds."""
    from datetime import UTC

    now = datetime.now(UTC)
    if _run(data, lambda rows: rows.revoke(key, now=now)) is None:
        typer.echo(f"batch-gateway: there is no key {key}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{key} is revoked")


def _expiry(now: datetime, window: str | None) -> datetime | None:
    """When a key expires that lives for ``window``. Raises BadParameter."""
    import re
    from datetime import timedelta

    if window is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", window)
    if match is None:
        raise typer.BadParameter(
            "--expires-in is a number of minutes, hours or days: 30m, 12h, 90d"
        )
    unit = {"m": "minutes", "h": "hours", "d": "days"}[match[2]]
    return now + timedelta(**{unit: int(match[1])})


def _state(key: "ApiKey") -> str:
    from datetime import UTC

    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%dT%H:%MZ}"
    if key.expires_at is None:
        return "valid"
    verb = "expires" if key.valid(datetime.now(UTC)) else "expired"
    return f"{verb} {key.expires_at:%Y-%m-%dT%H:%MZ}"


def _run(data: Path | None, work: "Callable[[ApiKeyRows], Awaitable[T]]") -> T:
    """What ``work`` returns, done on the store; an error is one line and ends the command."""
    from batch_gateway.core.errors import BatchGatewayError

    try:
        return asyncio.run(_done(settings_of(data), work))
    except BatchGatewayError as error:
        typer.echo(f"batch-gateway: {error}", err=True)
        raise typer.Exit(1) from error


async def _done(settings: "Settings", work: "Callable[[ApiKeyRows], Awaitable[T]]") -> T:
    from batch_gateway.wiring.stores import open_metadata

    store = await open_metadata(settings)
    try:
        await store.check()
        return await work(store.api_keys)
    finally:
        await store.close()
