"""Batches whose requests come with them instead of in a file.

They are written into an input file of the tenant, as he could have uploaded it, byte for byte as he
wrote them; from there on such a batch is like any other.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

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
        """As ``BatchService.create``, with ``requests`` (JSON objects, each on one line) as input.

        Nothing remains of them when the batch is refused, or was made before from the same seed.
        """
        self._batches.window(new)  # before anything is stored
        async with self._files.upload(tenant) as upload:
            await upload.store(FILENAME, _lines(requests), purpose=BATCH)
            file = await upload.keep(BATCH, None)
            batch = await self._batches.create(
                tenant, replace(new, input_file_id=file.id), traceparent=traceparent, seed=seed
            )
            if batch.input_file_id != file.id:
                await upload.discard()
            return batch


async def _lines(requests: Sequence[bytes]) -> AsyncIterator[bytes]:
    for start in range(0, len(requests), _CHUNK):
        yield b"".join(request + b"\n" for request in requests[start : start + _CHUNK])
