"""Finds the state and the result of one request by its ``custom_id``.

There is no index: the batch is looked through, in bounded memory, until the request is found. That
is for lookups of a few requests; to get all of them, read the results.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from batch_gateway.core.errors import Corrupt, NotFound
from batch_gateway.core.ids import BatchId, FileId, TenantId
from batch_gateway.core.layout import lease_ref
from batch_gateway.core.lines import PartLine, custom_id_of, decode_part_line, decode_shard_line
from batch_gateway.core.model import Batch, Shard, ShardState
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.results.pages import grouped
from batch_gateway.services.results.parts import (
    ShardResults,
    present_parts,
    read_blob,
    read_part_by_part,
    read_recorded,
)

_SHARDS = 4  # looked through side by side


class RequestState(StrEnum):
    PENDING = "pending"  # no result yet
    COMPLETED = "completed"  # answered with success
    FAILED = "failed"  # answered with an error, or never to be run


@dataclass(frozen=True, slots=True)
class RequestResult:
    state: RequestState
    result: bytes | None  # the result line, without line end; None while pending


_PENDING = RequestResult(RequestState.PENDING, None)


class RequestLookup:
    def __init__(self, metadata: MetadataStore, files: FileStore) -> None:
        self._metadata = metadata
        self._files = files

    async def find(self, tenant: TenantId, batch: BatchId, custom_id: str) -> RequestResult | None:
        """None when the tenant has no such batch. Raises NotFound when it has no such request."""
        for _ in range(2):  # it may end while we look
            found = await self._metadata.batches.get(tenant, batch)
            if found is None:
                return None
            try:
                request = await self._find(found, custom_id)
            except (Corrupt, NotFound):  # the work of a batch that has ended is being deleted
                if found.terminal:
                    raise
                continue
            if request is not None:
                return request
            break
        raise NotFound(f"No request with custom_id '{custom_id}' found in batch '{batch}'.")

    async def _find(self, batch: Batch, custom_id: str) -> RequestResult | None:
        if batch.terminal:
            return await self._in_files(batch, custom_id)
        refused = None
        planned = False
        async for shards in grouped(self._metadata.shards.of_batch(batch.id), _SHARDS):
            planned = True
            for found in await asyncio.gather(*(self._in_shard(s, custom_id) for s in shards)):
                if found is None or found.state is not RequestState.FAILED:
                    if found is not None:
                        return found
                else:  # a refused duplicate must not hide the request that has the name by right
                    refused = refused or found
        if planned or batch.ending is not None:
            return refused
        return await self._in_input(batch, custom_id)

    async def _in_shard(self, shard: Shard, custom_id: str) -> RequestResult | None:
        name = msgspec.json.encode(custom_id)
        if not shard.key:  # answered while it was planned
            results = await read_recorded(self._files, shard.parts)
            return _first(_named(results, name), custom_id)
        content = await read_blob(self._files, shard.key)
        if name not in content:
            return None
        for raw in content.splitlines():
            if name not in raw:
                continue
            line = decode_shard_line(raw)
            for number, named in ((line.line, line.custom_id), *line.copies):
                if named == custom_id:
                    return await self._result(shard, number)
        return None

    async def _result(self, shard: Shard, line: int) -> RequestResult:
        parts = list(shard.parts)
        if shard.state is ShardState.LEASED:
            stored = await present_parts(self._files, shard)
            [standing] = await self._metadata.shards.standings([lease_ref(shard)])
            parts += stored if standing.held else []
        async for found in read_part_by_part(self._files, parts):
            for result, _ in found:
                if result.line == line:
                    return _status(result)
        return _PENDING

    async def _in_files(self, batch: Batch, custom_id: str) -> RequestResult | None:
        name = b'"custom_id":' + msgspec.json.encode(custom_id) + b","
        for file, state in (
            (batch.output_file_id, RequestState.COMPLETED),
            (batch.error_file_id, RequestState.FAILED),
        ):
            async for lines in self._lines(batch, file):
                found = await asyncio.to_thread(_with_name, lines, name, custom_id)
                if found is not None:
                    return RequestResult(state, found)
        return None

    async def _in_input(self, batch: Batch, custom_id: str) -> RequestResult | None:
        """Of a batch that is not planned yet."""
        async for lines in self._lines(batch, batch.input_file_id):
            if await asyncio.to_thread(_has_request, lines, custom_id):
                return _PENDING
        return None

    async def _lines(self, batch: Batch, file: FileId | None) -> AsyncIterator[bytes]:
        """Whole lines of a file, some at a time. Raises NotFound when it is gone."""
        if file is None:
            return
        row = await self._metadata.files.get(batch.tenant, file)
        if row is None:
            raise NotFound(f"File {file} was deleted or has expired.")
        rest: list[bytes] = []
        async for chunk in self._files.read(row.key):
            lines, end, tail = chunk.rpartition(b"\n")
            if end:
                yield b"".join((*rest, lines))
                rest = []
            rest.append(tail)
        if rest:
            yield b"".join(rest)


def _named(results: ShardResults, name: bytes) -> Iterator[bytes]:
    """Lines in which ``name`` occurs; a result may be stored as a text, with quotes escaped."""
    escaped = msgspec.json.encode(name.decode())[1:-1]
    return (raw for raw in results.lines.values() if name in raw or escaped in raw)


def _first(lines: Iterator[bytes], custom_id: str) -> RequestResult | None:
    for raw in lines:
        found = _found(raw)
        if custom_id_of(found.result) == custom_id:
            return found
    return None


def _found(raw: bytes) -> RequestResult:
    return _status(decode_part_line(raw))


def _status(line: PartLine) -> RequestResult:
    state = RequestState.COMPLETED if line.ok else RequestState.FAILED
    return RequestResult(state, line.result_line)


def _with_name(lines: bytes, name: bytes, custom_id: str) -> bytes | None:
    """The result line of ``custom_id``; ``name`` is how it begins to be written there."""
    if name not in lines:
        return None
    candidates = (line for line in lines.split(b"\n") if name in line)
    return next((line for line in candidates if custom_id_of(line) == custom_id), None)


def _has_request(lines: bytes, custom_id: str) -> bool:
    return any(custom_id_of(line) == custom_id for line in lines.split(b"\n"))
