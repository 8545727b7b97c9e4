"""Builds intake."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.ports.files import FileStore
from batch_gateway.settings import Settings
from batch_gateway.wiring.batches import make_batches, make_files
from batch_gateway.wiring.function import Function, hosted_function
from batch_gateway.wiring.runtime import Runtime

if TYPE_CHECKING:
    from batch_gateway.services.intake import Intake


def make_intake(runtime: Runtime, stack: AsyncExitStack) -> "Intake":
    """Intake; what it opens is closed with ``stack``."""
    from batch_gateway.services.intake import Intake

    objects = StoredObjects(runtime.settings)
    stack.push_async_callback(objects.close)
    return Intake(
        metadata=runtime.metadata,
        batches=make_batches(runtime),
        files=make_files(runtime),
        objects=objects,
        publisher=runtime.publisher,
        clock=runtime.clock,
    )


def intake_function() -> Function:
    def build(runtime: Runtime, stack: AsyncExitStack) -> ASGIApp:
        from batch_gateway.web.intake import intake_app

        rules = runtime.settings.intake
        return intake_app(
            make_intake(runtime, stack),
            sources=rules.sources,
            remember=timedelta(seconds=rules.remember_s),
            clock=runtime.clock,
            ready=runtime.ready,
            patience=timedelta(seconds=runtime.settings.events.unknown_key_s),
        )

    return hosted_function("intake", build)


class StoredObjects:
    """Objects in buckets, and in folders of this machine; a store is opened when it is needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: dict[str, FileStore] = {}

    async def read(self, uri: str) -> AsyncIterator[bytes]:
        url = urlsplit(uri)
        scheme, _, rest = uri.partition("://")
        name, _, key = rest.partition("/")
        root = f"s3://{name}" if scheme == "s3" else "file:///"
        store = self._opened.get(root)
        if store is None:
            store = self._opened[root] = self._open(url.scheme, name)
        try:
            async for chunk in store.read(key):
                yield chunk
        except ValueError:  # not a key of the file store
            raise InvalidRequest(f"Invalid 'object': {uri}.", param="object") from None

    async def close(self) -> None:
        for store in self._opened.values():
            await store.close()

    def _open(self, scheme: str, bucket: str) -> FileStore:
        if scheme == "file":
            from batch_gateway.adapters.local_files import LocalFiles

            return LocalFiles(Path("/"))
        from batch_gateway.adapters.s3_files import open_s3

        intake, files = self._settings.intake, self._settings.files
        secret = intake.s3_secret_access_key or files.s3_secret_access_key
        return open_s3(
            bucket,
            endpoint=intake.s3_endpoint or files.s3_endpoint,
            region=intake.s3_region or files.s3_region,
            access_key_id=intake.s3_access_key_id or files.s3_access_key_id,
            secret_access_key=None if secret is None else secret.get_secret_value(),
        )
