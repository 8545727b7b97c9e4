"""Builds the input file of a chained batch from the output of the other batch.

The file's id derives from the batch's: two planners write the same bytes.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

from batch_gateway.core.chaining import (
    UnfillablePlaceholder,
    after_of,
    chained_file,
    empty_line,
    request_line,
)
from batch_gateway.core.errors import Conflict, InvalidRequest, NotFound, OverQuota
from batch_gateway.core.layout import file_key
from batch_gateway.core.model import Batch, BatchError, BatchStatus, File
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.files.content import BATCH, ContentCheck, file_of
from batch_gateway.services.plan.input_scan import InputRules
from batch_gateway.services.results.pages import grouped, split_lines

logger = logging.getLogger(__name__)

_TOLD = 100  # errors of a batch at most
_AT_ONCE = 200  # answers that requests are made of in one go


class ChainedInputs:
    """Makes the input files of batches that follow others."""

    def __init__(
        self, metadata: MetadataStore, files: FileStore, clock: Clock, rules: InputRules
    ) -> None:
        self._metadata = metadata
        self._files = files
        self._clock = clock
        self._rules = rules

    async def file(self, batch: Batch) -> File | list[BatchError] | None:
        """The batch's input file; why there can be none; None while the other has not ended."""
        name = chained_file(batch.id)
        if (made := await self._metadata.files.get(batch.tenant, name)) is not None:
            return made
        first = after_of(batch)
        other = None if first is None else await self._metadata.batches.get(batch.tenant, first)
        if other is None:
            return [_failed(f"The batch {first} that this one follows is gone.")]
        if not other.terminal:
            return None
        if other.status is not BatchStatus.COMPLETED:
            return [_failed(f"The batch {first} that this one follows has {other.status}.")]
        output = None
        if other.output_file_id is not None:
            output = await self._metadata.files.get(batch.tenant, other.output_file_id)
        if output is None:
            return [_failed(f"The batch {first} that this one follows has no output file.")]
        return await self._make(batch, output)

    async def _make(self, batch: Batch, output: File) -> File | list[BatchError]:
        """The limits of uploaded input files apply to this one, too."""
        name = chained_file(batch.id)
        requests = _Requests(batch, self._rules.planning.max_line_bytes)
        content = ContentCheck()
        chunks = requests.chunks(self._files.read(output.key))
        try:
            await self._files.put(
                file_key(name), content.measured(chunks, self._rules.max_file_bytes)
            )
        except NotFound:
            return [_failed("The output file of the batch that this one follows is gone.")]
        except InvalidRequest:
            return [_failed("The requests that the template makes are more than a file may hold.")]
        if requests.errors:
            await self._files.delete(file_key(name))
            return requests.errors
        return await self._add(batch, output, content)

    async def _add(
        self, batch: Batch, output: File, content: ContentCheck
    ) -> File | list[BatchError]:
        file = file_of(
            chained_file(batch.id),
            batch.tenant,
            content,
            filename=f"{batch.id}_input.jsonl",
            purpose=BATCH,
            created_at=self._clock.now(),
            expires_at=output.expires_at,
        )
        try:
            await self._metadata.files.add(file, quotas=self._rules.quotas)
        except Conflict:  # another planner has made the same
            logger.debug(
                "Another planner has stored the same file",
                extra={"action": "chain", "batch_id": batch.id},
            )
        except OverQuota as over:
            await self._files.delete(file.key)
            return [_failed(f"There is no room for the input file: {over}.")]
        return file


class _Requests:
    """The requests that a batch's template makes of an output, as they are stored."""

    def __init__(self, batch: Batch, longest: int) -> None:
        """``longest``: bytes that are put into one request."""
        self.errors: list[BatchError] = []
        self._endpoint = batch.endpoint
        self._template = batch.options["after"]["template"]
        self._skip = batch.skips_invalid
        self._longest = longest
        self._lines = 0

    async def chunks(self, output: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for answers in grouped(split_lines(output), _AT_ONCE):
            yield await asyncio.to_thread(self._requests, answers)

    def _requests(self, answers: Sequence[bytes]) -> bytes:
        return b"".join(map(self._request, answers))

    def _request(self, answer: bytes) -> bytes:
        self._lines += 1
        try:
            return request_line(answer, self._endpoint, self._template, self._longest)
        except UnfillablePlaceholder as why:
            if not self._skip and len(self.errors) < _TOLD:
                self.errors.append(_failed(f"{why}.", line=self._lines, param="after.template"))
            return empty_line(answer, self._endpoint)


def _failed(message: str, *, line: int | None = None, param: str = "after") -> BatchError:
    message = message[:1].upper() + message[1:]
    return BatchError(code="chain_broken", message=message, param=param, line=line)
