"""Records changes of a deployment in the audit log, if the operator names the database.

That is when ``BATCH_GATEWAY_METADATA__URL`` is set, as for ``batch-gateway audit``. The change is
carried out in any case: what cannot be recorded is printed on the terminal.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import typer

from batch_gateway.cli.errors import CommandError

if TYPE_CHECKING:
    from batch_gateway.core.audit import AuditOutcome
    from batch_gateway.ports.metadata import MetadataStore

Change = Literal["deployment.deploy", "deployment.rollback", "deployment.uninstall"]

_URL = "BATCH_GATEWAY_METADATA__URL"
_WITHIN_S = 15.0
_MOST_SETTINGS = 50


@contextmanager
def recorded_change(
    action: Change, namespace: str, settings: Collection[str] = ()
) -> Iterator[None]:
    """Record what the context does to the deployment in ``namespace``, and how it ended.

    ``settings`` are the names of the variables that it changes; their values are not recorded.
    """
    from batch_gateway.core.audit import AuditOutcome

    try:
        yield
    except BaseException:
        record_change(action, namespace, AuditOutcome.FAILED)
        raise
    record_change(action, namespace, AuditOutcome.OK, settings)


def record_change(
    action: Change, namespace: str, outcome: "AuditOutcome", settings: Collection[str] = ()
) -> None:
    """Add the entries; raises nothing that a database causes."""
    if not os.environ.get(_URL):
        return
    from batch_gateway.cli.metadata_settings import on_store

    async def add(metadata: "MetadataStore") -> None:
        from batch_gateway.cli.audit import recorded

        await recorded(metadata, action, outcome, target=namespace)
        for name in sorted(settings)[:_MOST_SETTINGS]:
            await recorded(metadata, "settings.change", outcome, target=name)

    try:
        on_store(None, add, within_s=_WITHIN_S)
    except CommandError as error:
        typer.echo(f"{action} is not in the audit log: {error}", err=True)
