"""Creates batches whose requests are in the request body instead of in an input file.

It is written into an input file of the tenant, as an upload would be, byte for byte as it came;
from there on such a batch is like any other.
"""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace

from batch_gateway.core.errors import Permanent
from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import Batch
from batch_gateway.services.batches.service import BatchService, NewBatch
from batch_gateway.services.files.content import BATCH
from batch_gateway.services.files.service import FileService

FILENAME = "requests.jsonl"
_CHUNK = 256  # lines handed to the store at a time


class InlineBatches:
    def __init__(self, batches: BatchService, files: FileService) -> None:
        self._batches = batches
        self._files = files

    async def create(
        self,
        tenant: TenantId,
        new: NewBatch,
        requests: Sequence[bytes],
        *,
        traceparent: str | None,
        seed: bytes | None = None,
    ) -> Batch:
        """As ``create_from``, with ``requests``: JSON objects, each on one line."""
        return await self.create_from(
            tenant, new, FILENAME, _lines(requests), traceparent=traceparent, seed=seed
        )

    async def create_from(
        self,
        tenant: TenantId,
        new: NewBatch,
        filename: str,
        content: AsyncIterable[bytes],
        *,
        traceparent: str | None,
        seed: bytes | None = None,
    ) -> Batch:
        """As ``BatchService.create``, with the file ``filename`` of this ``content`` as input.

        Nothing remains of it when the batch is refused, or was made before from the same seed. It
        stays when the outcome is unknown: the batch may exist although the database did not answer
        in time.
        """
        self._batches.window(new)  # before anything is stored
        async with self._files.upload(tenant) as upload:
            await upload.store(filename, content, purpose=BATCH)
            file = await upload.keep(BATCH, None)
        try:
            batch = await self._batches.create(
                tenant, replace(new, input_file_id=file.id), traceparent=traceparent, seed=seed
            )
        except Permanent:
            await upload.discard()
            raise
        if batch.input_file_id != file.id:
            await upload.discard()
        return batch


async def _lines(requests: Sequence[bytes]) -> AsyncIterator[bytes]:
    for start in range(0, len(requests), _CHUNK):
        yield b"".join(request + b"\n" for request in requests[start : start + _CHUNK])
