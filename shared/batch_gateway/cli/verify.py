"""``batch-gateway verify``: compares the database with the file store, and changes nothing."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from batch_gateway.cli.cluster.options import ClusterJobOption, ClusterOptions
from batch_gateway.cli.errors import REFUSED, UNREACHABLE, CommandError, report_errors
from batch_gateway.cli.metadata_settings import MetadataStoreOption, settings_of
from batch_gateway.cli.tables import print_text

if TYPE_CHECKING:
    from pathlib import Path

    from batch_gateway.services.verify.findings import StorageFinding, VerificationSummary
    from batch_gateway.settings import Settings

#: For a Job that reads all objects of a deployment.
_PATIENCE_S = 86400.0


@report_errors
def verify(
    store: MetadataStoreOption,
    where: ClusterJobOption,
    place: ClusterOptions,
    as_json: Annotated[
        bool, Option("--json", help="Print each finding, and the summary, as a line of JSON.")
    ] = False,
) -> None:
    """Read every object that the database names, and report missing, damaged and orphaned ones."""
    if where.inside:
        from batch_gateway.cli.cluster.pod_jobs import print_inside

        words = ["verify", *(["--json"] if as_json else [])]
        print_inside(words, place, patience_s=_PATIENCE_S)
        return
    from batch_gateway.core.errors import BatchGatewayError

    say = _json if as_json else _text
    try:
        summary = asyncio.run(_verified(_settings(store.data), say))
    except BatchGatewayError as error:
        raise CommandError(str(error), UNREACHABLE) from error
    say(summary)
    if summary.damaged:
        raise typer.Exit(REFUSED)


async def _verified(settings: "Settings", say: "Say") -> "VerificationSummary":
    from batch_gateway.services.verify.verifier import StorageConsistencyVerifier
    from batch_gateway.wiring.stores import open_files, open_metadata

    metadata = await open_metadata(settings)
    files = open_files(settings)
    try:
        await metadata.check()
        verifier = StorageConsistencyVerifier(metadata, files)
        async for finding in verifier.findings():
            say(finding)
        return verifier.summary
    finally:
        await files.close()
        await metadata.close()


def _settings(data: "Path | None") -> "Settings":
    """Raises CommandError. Verifying changes nothing, the schema included."""
    settings = settings_of(data)
    return settings.model_copy(
        update={"metadata": settings.metadata.model_copy(update={"migrate": False})}
    )


def _text(said: "StorageFinding | VerificationSummary") -> None:
    from batch_gateway.services.verify.findings import StorageFinding

    if isinstance(said, StorageFinding):
        owner = f" of {said.owner} ({said.tenant})" if said.owner else ""
        when = f", written {said.modified_at:%Y-%m-%dT%H:%M:%SZ}" if said.modified_at else ""
        detail = f": {said.detail}{when}" if said.detail else ""
        print_text(f"{said.problem}\t{said.kind}{owner}\t{said.key}{detail}")
        return
    print_text(
        f"{said.files} files, {said.upload_parts} parts of uploads, {said.shards} shards and "
        f"{said.parts} parts of results read, {said.bytes} bytes: {said.damaged} damaged; "
        f"{said.orphans} objects that no row names",
        err=True,
    )


def _json(said: "StorageFinding | VerificationSummary") -> None:
    import msgspec

    from batch_gateway.services.verify.findings import StorageFinding

    name = "finding" if isinstance(said, StorageFinding) else "summary"
    typer.echo(msgspec.json.encode({name: said}).decode())


if TYPE_CHECKING:
    from typing import Protocol

    class Say(Protocol):
        def __call__(self, said: StorageFinding | VerificationSummary, /) -> None: ...
