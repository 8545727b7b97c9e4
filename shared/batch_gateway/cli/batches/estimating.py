"""A dry run: requests from the service the requests, tokens and time of a file."""

from contextlib import suppress
from typing import TYPE_CHECKING

from batch_gateway.cli.batches.options import BatchOptions
from batch_gateway.cli.errors import CommandError

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json, ServiceClient
    from batch_gateway.cli.batches.source import InputSource


def dry_run(service: "ServiceClient", source: "InputSource", asked: BatchOptions) -> "Json":
    """The batch of a dry run when it has ended; neither it nor the file is there afterwards."""
    from batch_gateway.cli.batches.progress_view import follow, uploading

    body = asked.body(source) | {"dry_run": True}
    with uploading(source):
        uploaded = service.upload(source)
    try:
        made = service.post("/batches", body | {"input_file_id": uploaded["id"]})
        ended = follow(service, made["id"], quiet=True)
        with suppress(CommandError):  # it goes by itself after its retention
            service.delete(f"/batches/{made['id']}")
        return ended
    finally:
        with suppress(CommandError):  # it goes by itself when it expires
            service.delete(f"/files/{uploaded['id']}")
