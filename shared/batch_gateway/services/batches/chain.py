"""Chains: a batch that begins with what another one has answered.

It stays in validating until the other one has ended. Then it is announced as created once more, and
the planner makes its input file of the other's output, under an id that derives from its own: two
planners write the same bytes. A lost announcement is made up for by the janitor. There can be no
circle, because a batch can only name one that is there already.
"""

import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from batch_gateway.core.chaining import (
    Missing,
    after_of,
    chained_file,
    empty_line,
    request_line,
)
from batch_gateway.core.errors import Conflict, NotFound
from batch_gateway.core.events import EventType
from batch_gateway.core.ids import BatchId
from batch_gateway.core.layout import file_key
from batch_gateway.core.lifecycle import told
from batch_gateway.core.model import Batch, BatchError, BatchStatus, File
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import BatchRows, MetadataStore
from batch_gateway.services.announce import Announcer

logger = logging.getLogger(__name__)

_LOOKED_AT = 200  # batches that wait; who waits behind them is announced by the janitor
_TOLD = 100  # errors of a batch at most


class Followers:
    """Those that wait for a batch to end."""

    def __init__(self, batches: BatchRows, announcer: Announcer, clock: Clock) -> None:
        self._batches = batches
        self._announcer = announcer
        self._clock = clock

    async def wake(self, ended: Batch) -> None:
        """Have the batches planned that wait for ``ended``. Raises Unavailable."""
        waiting = await self._batches.unfinished(
            [BatchStatus.VALIDATING],
            before=self._clock.now() + timedelta(seconds=1),
            limit=_LOOKED_AT,
        )
        events = [
            told(EventType.BATCH_CREATED, batch) for batch in waiting if after_of(batch) == ended.id
        ]
        await self._announcer.announce(*events)

    async def without_waiting(self, batches: Sequence[Batch]) -> list[Batch]:
        """Those of ``batches`` that nothing keeps from being planned."""
        going_on: dict[BatchId, bool] = {}
        for batch in batches:
            first = after_of(batch)
            if first is not None and first not in going_on:
                other = await self._batches.get(batch.tenant, first)
                going_on[first] = other is not None and not other.terminal
        return [
            batch
            for batch in batches
            if batch.status is not BatchStatus.VALIDATING
            or (first := after_of(batch)) is None
            or not going_on[first]
        ]


class Chain:
    """Makes the input of chained batches."""

    def __init__(self, metadata: MetadataStore, files: FileStore, clock: Clock) -> None:
        self._metadata = metadata
        self._files = files
        self._clock = clock

    async def input(self, batch: Batch) -> File | list[BatchError] | None:
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
        name = chained_file(batch.id)
        work = _Requests(batch, self._files.read(output.key))
        try:
            await self._files.put(file_key(name), work.chunks())
        except NotFound:
            return [_failed("The output file of the batch that this one follows is gone.")]
        if work.errors:
            await self._files.delete(file_key(name))
            return work.errors
        file = File(
            id=name,
            tenant=batch.tenant,
            purpose="batch",
            filename=f"{batch.id}_input.jsonl",
            size=work.size,
            lines=work.lines,
            sha256=work.sha256.hexdigest(),
            key=file_key(name),
            created_at=self._clock.now(),
            expires_at=output.expires_at,
        )
        try:
            await self._metadata.files.add(file)
        except Conflict:  # another planner has made the same
            logger.debug("Made by another", extra={"action": "chain", "batch_id": batch.id})
        return file


class _Requests:
    """The requests that a template makes of an output, as they are stored."""

    def __init__(self, batch: Batch, output: AsyncIterator[bytes]) -> None:
        self._output = output
        self._endpoint = batch.endpoint
        self._template = batch.options["after"]["template"]
        self._skip = batch.options.get("on_invalid_line") == "skip"
        self.errors: list[BatchError] = []
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.lines = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in self._output:
            *whole, rest = (rest + chunk).split(b"\n")
            yield self._requests(whole)
        yield self._requests([rest])

    def _requests(self, raws: Sequence[bytes]) -> bytes:
        made = b"".join(self._request(raw) for raw in raws if raw)
        self.sha256.update(made)
        self.size += len(made)
        return made

    def _request(self, raw: bytes) -> bytes:
        self.lines += 1
        try:
            return request_line(raw, self._endpoint, self._template)
        except Missing as missing:
            if not self._skip and len(self.errors) < _TOLD:
                self.errors.append(_failed(f"{missing}.", line=self.lines, param="after.template"))
            return empty_line(raw, self._endpoint)


def _failed(message: str, *, line: int | None = None, param: str = "after") -> BatchError:
    message = message[:1].upper() + message[1:]
    return BatchError(code="chain_broken", message=message, param=param, line=line)
