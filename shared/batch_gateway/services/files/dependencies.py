"""Stores, clock and limits of the services that take files from tenants."""

from dataclasses import dataclass

from batch_gateway.core.quotas import NO_QUOTAS, Quotas
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.full_stores import refuse_if_full
from batch_gateway.settings import ApiSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDependencies:
    metadata: MetadataStore
    files: FileStore
    clock: Clock
    api: ApiSettings
    quotas: Quotas = NO_QUOTAS
    coordination: CoordinationStore | None = None
    """Has the names of full stores. None: only the stores themselves are asked."""

    async def refuse_if_full(self) -> None:
        """Raise StorageFull while a store is known to be full."""
        if self.coordination is not None:
            await refuse_if_full(self.coordination)
