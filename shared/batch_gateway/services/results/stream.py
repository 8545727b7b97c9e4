"""Streams the results of a batch while it runs and afterwards: every line exactly once.

While a batch runs its results are in the parts of its shards: those that the rows name, and, of a
shard that is being worked on, those that its holder has stored so far. A reader gets, shard by
shard, the lines that it has not read yet. Inside a shard the order never changes
(``results.parts``), so one number per shard is its position. Parts of a lease count only if the
lease is still current after they were listed: a later holder lists them too, and keeps them. Parts
that an old holder stores after that are never returned.

Once the batch has ended there are only its files, output first. A reader that began earlier does
not get lines again: the completion order that is stored with the files says which lines it has
read. The lines of all responses together are those of the two files, each of them once.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

from batch_gateway.core.cursor import WHOLE, ResultCursor, ResultFilePosition
from batch_gateway.core.errors import Corrupt, InvalidRequest, NotFound
from batch_gateway.core.ids import BatchId, FileId, TenantId
from batch_gateway.core.layout import lease_ref
from batch_gateway.core.model import Batch, ResultPart, Shard, ShardState
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.results.completion_order import read_lines_given
from batch_gateway.services.results.pages import grouped, split_lines
from batch_gateway.services.results.parts import present_parts, read_part_by_part

_SHARDS = 100  # rows looked at together
_PAGE_BYTES = 16 * 1024 * 1024  # of one answer: its lines are held in memory
_LOOK_S = 1.0  # between two polls of a stream
_NEWS_S = 15.0  # a cursor line follows after this, even without new results
_LINES = 500  # after as many, too


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultPage:
    lines: Sequence[bytes]  # result lines, with line ends
    cursor: str
    more: bool  # lines are left, or may still come


@dataclass(frozen=True, slots=True)
class StreamCursor:
    """The position of a follower; sent between lines."""

    cursor: str
    status: str  # of the batch


class ResultService:
    """What batches have answered so far. ``None``: there is no such batch of that tenant."""

    def __init__(
        self,
        *,
        metadata: MetadataStore,
        files: FileStore,
        clock: Clock,
        follow: timedelta,
        stopping: asyncio.Event,
    ) -> None:
        """A stream ends after ``follow``, and when ``stopping`` is set."""
        self._metadata = metadata
        self._files = files
        self._clock = clock
        self._follow = follow
        self._stopping = stopping

    async def page(
        self, tenant: TenantId, batch: BatchId, *, after: str | None, limit: int
    ) -> ResultPage | None:
        """Up to ``limit`` lines that are there now. Raises InvalidRequest, NotFound."""
        reader = await self._reader(tenant, batch, after)
        if reader is None:
            return None
        lines: list[bytes] = []
        size = 0
        async with aclosing(reader.lines()) as found:
            if limit:
                async for line in found:
                    lines.append(line)
                    size += len(line)
                    if len(lines) == limit or size >= _PAGE_BYTES:
                        break
        return ResultPage(lines=lines, cursor=reader.cursor, more=not reader.ended)

    async def follow(
        self, tenant: TenantId, batch: BatchId, *, after: str | None
    ) -> AsyncIterator[bytes | StreamCursor] | None:
        """Lines as they come until the batch has ended, with standings in between and at the end.

        Raises as ``page``, before the first of them.
        """
        reader = await self._reader(tenant, batch, after)
        return None if reader is None else self._following(reader)

    async def _following(self, reader: "_Reader") -> AsyncIterator[bytes | StreamCursor]:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._follow.total_seconds()
        told = loop.time()
        while True:
            began, lines = loop.time(), 0
            async for line in reader.lines():
                yield line
                lines += 1
                if lines % _LINES == 0:
                    yield reader.standing
                    if self._stopping.is_set() or loop.time() >= end:
                        return
            took = loop.time() - began
            over = reader.ended or self._stopping.is_set() or loop.time() >= end
            if lines or over or loop.time() >= told + _NEWS_S:
                told = loop.time()
                yield reader.standing
            if over:
                return
            await self._wait(max(_LOOK_S, 3 * took))  # a huge plan is not read all the time

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _reader(
        self, tenant: TenantId, batch: BatchId, after: str | None
    ) -> "_Reader | None":
        found = await self._metadata.batches.get(tenant, batch)
        if found is None:
            return None
        cursor = ResultCursor() if after is None else ResultCursor.decode(after, batch)
        if cursor is None:
            raise InvalidRequest(
                "Invalid 'after': this is no cursor of this batch's results.",
                param="after",
                code="invalid_value",
            )
        reader = _Reader(found, cursor, self._metadata, self._files, self._clock)
        await reader.check()
        return reader


class _Reader:
    """One reader of one batch, and its position."""

    def __init__(
        self,
        batch: Batch,
        cursor: ResultCursor,
        metadata: MetadataStore,
        files: FileStore,
        clock: Clock,
    ) -> None:
        self.ended = False  # everything was given, and the batch has ended
        self._batch = batch
        self._given = dict(cursor.given)
        self._place = cursor.place
        self._metadata = metadata
        self._files = files
        self._clock = clock

    @property
    def cursor(self) -> str:
        return ResultCursor(self._given, self._place).encode(self._batch.id)

    @property
    def standing(self) -> StreamCursor:
        return StreamCursor(self.cursor, self._batch.status.value)

    async def check(self) -> None:
        """Raise NotFound when the batch has ended and a file of it is gone."""
        if self._batch.terminal:
            for name in _files_of(self._batch)[self._first_file :]:
                await self._key(name)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """What is there now and was not given yet."""
        if not self._batch.terminal:
            self._batch = await self._present()
        if not self._batch.terminal:
            try:
                async for line in self._of_shards():
                    yield line
                return
            except Corrupt:  # its work is being deleted: it has ended meanwhile
                self._batch = await self._present()
                if not self._batch.terminal:
                    raise
        async for line in self._of_files():
            yield line
        self.ended = True

    async def _present(self) -> Batch:
        found = await self._metadata.batches.get(self._batch.tenant, self._batch.id)
        if found is None:
            raise NotFound(f"No batch found with id '{self._batch.id}'.")
        return found

    # -- while it runs --------------------------------------------------------------------------

    async def _of_shards(self) -> AsyncIterator[bytes]:
        async for shards in grouped(self._metadata.shards.of_batch(self._batch.id), _SHARDS):
            left = [shard for shard in shards if self._given.get(shard.index) != WHOLE]
            present = await self._present_parts(left)
            for shard in left:
                parts = [*shard.parts, *present.get(shard.index, ())]
                async for line in self._of_shard(shard, parts):
                    yield line

    async def _present_parts(self, shards: Sequence[Shard]) -> dict[int, list[ResultPart]]:
        """By index: what holders have stored under leases that were theirs after we looked."""
        leased = [shard for shard in shards if shard.state is ShardState.LEASED]
        if not leased:
            return {}
        found = await asyncio.gather(*(present_parts(self._files, shard) for shard in leased))
        standings = await self._metadata.shards.standings([lease_ref(shard) for shard in leased])
        return {
            shard.index: parts
            for shard, parts, standing in zip(leased, found, standings, strict=True)
            if standing.held
        }

    async def _of_shard(self, shard: Shard, parts: Sequence[ResultPart]) -> AsyncIterator[bytes]:
        given = self._given.get(shard.index, 0)
        if sum(part.lines for part in parts) <= given:
            return
        number = 0
        async for lines in read_part_by_part(self._files, parts):
            for line, _ in lines:
                number += 1
                if number > given:
                    self._given[shard.index] = given = number
                    yield line.result_line + b"\n"
        if given == shard.lines and shard.state is ShardState.CLOSED:
            self._given[shard.index] = WHOLE

    # -- afterwards -----------------------------------------------------------------------------

    @property
    def _first_file(self) -> int:
        return int(self._place is not None and self._place.error_file)

    async def _of_files(self) -> AsyncIterator[bytes]:
        names = _files_of(self._batch)
        given = await self._given_lines()
        for number in range(self._first_file, len(names)):
            place = self._place or ResultFilePosition()
            if place.error_file != bool(number):
                place = ResultFilePosition(error_file=bool(number))
            self._place = place
            key = await self._key(names[number])
            if key is None:
                continue
            chunks = self._files.read(key, start=place.offset)
            async for line in split_lines(chunks):
                had = given[number][place.line : place.line + 1]
                place = ResultFilePosition(bool(number), place.offset + len(line), place.line + 1)
                self._place = place
                if had != b"\x01":
                    yield line

    async def _given_lines(self) -> tuple[bytes, bytes]:
        """One byte per line of either file: 1 for those that were given while it ran."""
        beside = self._batch.output_file_id or self._batch.error_file_id
        if not self._given or beside is None:
            return b"", b""
        try:
            given = await read_lines_given(self._files, beside, self._given)
        except NotFound as error:
            raise NotFound("The results were deleted.") from error
        return given.output(), given.error()

    async def _key(self, name: FileId | None) -> str | None:
        """Where a result file is; None when the batch has none. Raises NotFound when it is gone."""
        if name is None:
            return None
        file = await self._metadata.files.get(self._batch.tenant, name)
        if file is None or (file.expires_at and file.expires_at <= self._clock.now()):
            raise NotFound(f"The results are gone: file {name} was deleted or has expired.")
        return file.key


def _files_of(batch: Batch) -> tuple[FileId | None, FileId | None]:
    return batch.output_file_id, batch.error_file_id
