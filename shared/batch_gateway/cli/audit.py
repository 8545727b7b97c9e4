"""``batch-gateway audit``: who did what, as JSON lines or a table."""

from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from batch_gateway.cli.errors import report_errors
from batch_gateway.cli.metadata_settings import MetadataStoreOption, on_store
from batch_gateway.cli.output import AsJson, print_json
from batch_gateway.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_gateway.core.audit import AuditEntry, AuditOutcome
    from batch_gateway.ports.metadata import MetadataStore

_PAGE = 1000


@report_errors
def audit(
    store: MetadataStoreOption,
    limit: Annotated[int, Option(min=1, help="Most entries to print, the newest first.")] = 100,
    tenant: Annotated[str | None, Option(help="Only of this tenant.")] = None,
    action: Annotated[str | None, Option(help="Only this action, such as batch.cancel.")] = None,
    target: Annotated[str | None, Option(help="Only what was done to the object with this id.")] = (
        None
    ),
    json: AsJson = False,
) -> None:
    """Print the audit log; with --json as JSON lines."""
    from batch_gateway.core.ids import TenantId
    from batch_gateway.ports.audit import AuditFilter

    only = AuditFilter(
        tenant=None if tenant is None else TenantId(tenant), action=action, target=target
    )
    found = on_store(store.data, lambda metadata: _entries(metadata, limit, only))
    if json:
        for entry in found:
            print_json(_plain(entry), indent=None)
        return
    rows = (
        (
            f"{entry.at:%Y-%m-%dT%H:%M:%SZ}",
            entry.tenant or "-",
            entry.api_key or ("operator" if entry.operator else "-"),
            entry.action,
            entry.target or "-",
            entry.outcome.value,
            entry.address or "-",
        )
        for entry in found
    )
    print_table(("TIME", "TENANT", "KEY", "ACTION", "TARGET", "OUTCOME", "FROM"), rows)


async def _entries(metadata: "MetadataStore", limit: int, only: Any) -> "Sequence[AuditEntry]":
    found: list[AuditEntry] = []
    while len(found) < limit:
        page = min(_PAGE, limit - len(found))
        after = found[-1].id if found else None
        some = await metadata.audit.list(limit=page, after=after, only=only)
        found += some
        if len(some) < page:
            break
    return found


def _plain(entry: "AuditEntry") -> dict[str, Any]:
    from batch_gateway.web.admin_objects import AuditEntryObject

    return AuditEntryObject.of(entry).model_dump()


async def recorded(
    metadata: "MetadataStore",
    action: str,
    outcome: "AuditOutcome",
    *,
    tenant: str | None = None,
    target: str | None = None,
) -> None:
    """Record what an operator does at the database."""
    from batch_gateway.core.ids import TenantId
    from batch_gateway.services.audit import AuditLog
    from batch_gateway.wiring.runtime import SystemClock

    await AuditLog(metadata.audit, SystemClock()).record(
        action,
        outcome,
        operator=True,
        tenant=None if tenant is None else TenantId(tenant),
        target=target,
    )
