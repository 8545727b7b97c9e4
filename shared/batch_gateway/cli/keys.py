"""``batch-gateway keys``: make, list and revoke API keys, for ``auth.kind`` api-key.

They are rows of the metadata store, so this works beside a running service. The store is the one
that the settings name; for the embedded platform, ``--data`` names its folder.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.metadata_settings import MetadataStoreOption, on_store
from batch_gateway.cli.output import AsJson, print_json
from batch_gateway.cli.tables import print_table

if TYPE_CHECKING:
    from batch_gateway.core.api_keys import ApiKey
    from batch_gateway.core.scopes import AccessScope
    from batch_gateway.ports.metadata import MetadataStore

keys = typer.Typer(name="keys", help="Make, list and revoke API keys.", no_args_is_help=True)


@keys.command()
@report_errors
def create(
    tenant: Annotated[str, Argument(help="Whose files and batches the key opens.")],
    store: MetadataStoreOption,
    name: Annotated[str, Option(help="The owner or the purpose of the key.")] = "",
    expires_in: Annotated[str | None, Option(help="Such as 12h or 90d; default: never.")] = None,
    scope: Annotated[
        list[str] | None,
        Option(help="read, submit or operate; may be given several times. Default: read, submit."),
    ] = None,
    json: AsJson = False,
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
        scopes=_scopes(scope),
    )
    on_store(store.data, lambda metadata: _added(metadata, key))
    if json:
        print_json(_plain(key) | {"secret": secret})
        return
    typer.echo(f"{key.id} for {tenant}; keep the secret, it is not stored:", err=True)
    typer.echo(secret)


@keys.command("list")
@report_errors
def list_(
    store: MetadataStoreOption,
    tenant: Annotated[str | None, Option(help="Only this tenant's keys.")] = None,
    json: AsJson = False,
) -> None:
    """Print all keys, without their secrets."""
    from batch_gateway.core.ids import TenantId

    owner = None if tenant is None else TenantId(tenant)
    found = on_store(store.data, lambda metadata: metadata.api_keys.list(owner))
    if json:
        for key in found:
            print_json(_plain(key), indent=None)
        return
    rows = (
        (key.id, key.tenant, _state(key), " ".join(_names(key)), _last_use(key), key.name)
        for key in found
    )
    print_table(("ID", "TENANT", "STATE", "SCOPES", "LAST USED", "NAME"), rows)


@keys.command()
@report_errors
def revoke(
    key: Annotated[str, Argument(help="The id that `create` and `list` print: key_...")],
    store: MetadataStoreOption,
    json: AsJson = False,
) -> None:
    """End a key for good; a running service refuses it within some seconds."""
    from datetime import UTC

    now = datetime.now(UTC)
    revoked = on_store(store.data, lambda metadata: _revoked(metadata, key, now))
    if revoked is None:
        raise CommandError(f"there is no key {key}")
    if json:
        print_json(_plain(revoked))
    else:
        typer.echo(f"{key} is revoked")


async def _added(metadata: "MetadataStore", key: "ApiKey") -> None:
    from batch_gateway.cli.audit import recorded
    from batch_gateway.core.audit import AuditOutcome

    await metadata.api_keys.add(key)
    await recorded(metadata, "key.create", AuditOutcome.OK, tenant=key.tenant, target=key.id)


async def _revoked(metadata: "MetadataStore", name: str, now: datetime) -> "ApiKey | None":
    from batch_gateway.cli.audit import recorded
    from batch_gateway.core.audit import AuditOutcome

    key = await metadata.api_keys.revoke(name, now=now)
    if key is not None:
        await recorded(metadata, "key.revoke", AuditOutcome.OK, tenant=key.tenant, target=key.id)
    return key


def _scopes(given: list[str] | None) -> "frozenset[AccessScope]":
    """Raises BadParameter."""
    from batch_gateway.core.scopes import DEFAULT_SCOPES, AccessScope

    try:
        return frozenset(map(AccessScope, given)) if given else DEFAULT_SCOPES
    except ValueError:
        raise typer.BadParameter("--scope is read, submit or operate") from None


def _names(key: "ApiKey") -> list[str]:
    from batch_gateway.core.scopes import ordered

    return ordered(key.scopes)


def _last_use(key: "ApiKey") -> str:
    return "never" if key.last_used_at is None else f"{key.last_used_at:%Y-%m-%dT%H:%MZ}"


def _expiry(now: datetime, window: str | None) -> datetime | None:
    """When a key expires that is valid for ``window``. Raises BadParameter."""
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


def _plain(key: "ApiKey") -> dict[str, Any]:
    """The key without data from which its secret could be derived."""
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "state": _state(key).partition(" ")[0],
        "created_at": _seconds(key.created_at),
        "expires_at": _seconds(key.expires_at),
        "revoked_at": _seconds(key.revoked_at),
        "scopes": _names(key),
        "last_used_at": _seconds(key.last_used_at),
    }


def _seconds(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp())
