"""Builds intake."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.excerpts import excerpt
from batch_gateway.ports.files import FileStore
from batch_gateway.settings import IntakeSettings as IntakeSettings
from batch_gateway.settings import Settings
from batch_gateway.store_plugins import require_file_store
from batch_gateway.wiring.batches import make_batches, make_files
from batch_gateway.wiring.function import Function, hosted_function
from batch_gateway.wiring.runtime import FunctionRuntime
from batch_gateway.wiring.stores import open_files

if TYPE_CHECKING:
    from batch_gateway.services.intake import Intake


def make_intake(runtime: FunctionRuntime, stack: AsyncExitStack) -> "Intake":
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
    def build(runtime: FunctionRuntime, stack: AsyncExitStack) -> ASGIApp:
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
    """Reads objects from the folders of event sources; opens a folder's store at the first use."""

    def __init__(self, settings: Settings) -> None:
        """Raises UnknownStore and MissingExtra for a folder that no installed plug-in can open."""
        self._settings = settings
        self._folders = sorted(_folders(settings.intake), key=len)  # the outer one of two first
        for folder in self._folders:
            require_file_store(folder, "intake.sources")
        self._opened: dict[str, FileStore] = {}

    async def read(self, uri: str) -> AsyncIterator[bytes]:
        folder = next((folder for folder in self._folders if uri.startswith(folder)), None)
        if folder is None:
            raise _no_object(uri)
        if folder not in self._opened:
            self._opened[folder] = self._open(folder)
        try:
            async for chunk in self._opened[folder].read(uri.removeprefix(folder)):
                yield chunk
        except ValueError:  # not a key of the file store
            raise _no_object(uri) from None

    async def close(self) -> None:
        for store in self._opened.values():
            await store.close()

    def _open(self, folder: str) -> FileStore:
        """The store of ``folder``, as if ``files.url`` named it."""
        changes = {"url": folder}
        for field in ("s3_endpoint", "s3_region", "s3_access_key_id", "s3_secret_access_key"):
            if (given := getattr(self._settings.intake, field)) is not None:
                changes[field] = given
        files = self._settings.files.model_copy(update=changes)
        return open_files(self._settings.model_copy(update={"files": files}))


def _folders(intake: IntakeSettings) -> set[str]:
    return {
        folder
        for source in intake.sources.values()
        for folder in (*source.folders, *(drop.folder for drop in source.drops))
    }


def _no_object(uri: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid 'object': {excerpt(uri)}.", param="object")
