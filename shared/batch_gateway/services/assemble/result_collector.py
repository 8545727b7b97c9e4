"""Collects the results of a batch in temporary files, and stores most of them for resumption.

Shards are read in plan order, some side by side, and bound together as runs: the results of
consecutive shards, sorted by line number. Each full run is also stored, under a key that names
its shards. After a crash the next assembler reads these few runs instead of the many small parts,
and continues where they end. The last run of a batch, and with it all of a small batch, is never
stored: its parts are read again as quickly.

A shard whose results are large is not held in memory: its parts go to the temporary file one by
one. It is in no run, and an assembler that comes later reads it again.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from itertools import count
from pathlib import Path

import msgspec

from batch_gateway import meters
from batch_gateway.core.batch_summary import BatchSummary
from batch_gateway.core.errors import Corrupt, NotFound
from batch_gateway.core.layout import SortedRun, is_run, run_key, run_of_key, runs_prefix
from batch_gateway.core.lines import (
    custom_id_of,
    decode_part_line,
    decode_shard_line,
    encode_part_line,
    not_answered,
)
from batch_gateway.core.model import Batch, EndReason, ResultPart, Shard
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.assemble.merge import ResultMerge
from batch_gateway.services.plan.input_scan import read_lines
from batch_gateway.services.results.completion_order import CompletionOrderLog, order_of
from batch_gateway.services.results.lost_objects import RESULT_LOST
from batch_gateway.services.results.pages import grouped
from batch_gateway.services.results.parts import (
    MOST_BYTES,
    ShardResults,
    earlier_parts,
    read_blob,
    read_part_by_part,
    read_surviving,
)
from batch_gateway.services.task_group import task_group

logger = logging.getLogger(__name__)

#: Why a line was not run, by the batch's ending: OpenAI's codes and, for expiry, its words.
NOT_RUN = {
    EndReason.EXPIRED: (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    EndReason.CANCELLED: (
        "batch_cancelled",
        "This request was not executed because the batch was cancelled.",
    ),
}

_SHARDS = 4  # read side by side


class RequestsLost(Corrupt):
    """A shard was closed without results: its requests were lost for good (``results.losses``), or
    its row (``mending``)."""


class ResultCollector:
    """What has been gathered of one batch; the results themselves go to ``merge`` and ``order``."""

    def __init__(
        self,
        batch: Batch,
        *,
        metadata: MetadataStore,
        files: FileStore,
        merge: ResultMerge,
        order: CompletionOrderLog,
        run_bytes: int,
        surviving: bool = False,
    ) -> None:
        """A run is full with ``run_bytes``; it is held in memory.

        ``surviving``: results that are missing or damaged are lost and become error lines.
        """
        self.shards = 0
        self.unknown = 0  # lines without a result whose numbers are not known either
        self.lines = 0
        self.not_run = 0  # of these lines, the ones that were never run
        self.summary = BatchSummary()  # sums by model, as recorded for the shards
        self._batch = batch
        self._metadata = metadata
        self._files = files
        self._merge = merge
        self._order = order
        self._run_bytes = run_bytes
        self._surviving = surviving
        self._found: set[int] = set()  # lines that have a result, where any is unknown
        self._begin()

    async def gather(self) -> None:
        """Take up the results of all shards. Raises Corrupt when one is missing, RequestsLost when
        that is for good."""
        await self._take_kept()
        self._begin()
        async with task_group() as group:
            keeping: asyncio.Task[int] | None = None
            async for shards in grouped(self._metadata.shards.of_batch(self._batch.id), _SHARDS):
                for shard in shards:
                    self.summary.add_sums(shard)
                left = [shard for shard in shards if shard.index >= self.shards]
                read = await asyncio.gather(*(self._results(shard) for shard in left))
                for shard, found in zip(left, read, strict=True):
                    if found is None:
                        await self._add_large(shard)
                    else:
                        self._add(shard, *found)
                if self._size >= self._run_bytes and self._surviving:
                    await self._bind()
                elif self._size >= self._run_bytes:
                    if keeping is not None:
                        await keeping
                    run, content = await self._bind()
                    key = run_key(self._batch.id, self._batch.ending, run, content)
                    keeping = group.create_task(self._files.put(key, content))
            await self._bind()

    async def add_input(self, temp_dir: Path, longest_line: int) -> None:
        """Take up the lines of an input that was never planned; none if the file is gone."""
        batch = self._batch
        file = await self._metadata.files.get(batch.tenant, batch.input_file_id)
        if file is None or batch.ending is None or batch.is_dry:
            return
        code, message = NOT_RUN[batch.ending]

        def add(path: Path) -> None:
            lines = []
            for line, _, raw in read_lines(path, longest_line):
                if raw == b"":
                    continue
                part = not_answered(batch.id, line, custom_id_of(raw), code=code, message=message)
                lines.append(encode_part_line(part))
            self._merge.add_run(b"".join(lines))
            self.lines = self.not_run = len(lines)

        try:
            async with self._files.local_copy(file.key, temp_dir) as path:
                await asyncio.to_thread(add, path)
        except NotFound:
            return

    async def add_unknown(self, temp_dir: Path, longest_line: int) -> None:
        """Add error lines for lines whose shard was lost with its results.

        The input file has their numbers and names; if it is lost too, they have no name.
        """
        names: dict[int, str | None] = {}

        def look(path: Path) -> None:
            for line, _, raw in read_lines(path, longest_line):
                if raw != b"" and line not in self._found and len(names) < self.unknown:
                    names[line] = custom_id_of(raw)

        file = await self._metadata.files.get(self._batch.tenant, self._batch.input_file_id)
        if file is not None:
            with suppress(NotFound):
                async with self._files.local_copy(file.key, temp_dir) as path:
                    await asyncio.to_thread(look, path)
        free = (n for n in count(1) if n not in self._found and n not in names)
        while len(names) < self.unknown:
            names[next(free)] = None
        code, message = RESULT_LOST
        lines = [
            encode_part_line(not_answered(self._batch.id, n, name, code=code, message=message))
            for n, name in sorted(names.items())
        ]
        await asyncio.to_thread(self._merge.add_run, b"".join(lines))
        self.lines += len(lines)

    # -- what an earlier assembler has kept ------------------------------------------------------

    async def _take_kept(self) -> None:
        """Take up kept runs as long as each begins where the one before it ends."""
        prefix = runs_prefix(self._batch.id, self._batch.ending)
        keys = [blob.key async for blob in self._files.list(prefix)]
        for key in keys:
            run = run_of_key(key)
            if run is None or run.first != self.shards:
                continue
            content = await read_blob(self._files, key)
            if not is_run(key, content):
                logger.error(
                    "A run is damaged and gathered anew", extra={"action": "run", "key": key}
                )
                continue
            await self._take(run, content)
            if self._surviving:
                lines = content[run.order :].splitlines()
                self._found.update(decode_part_line(raw).line for raw in lines)
        if keys:
            logger.info(
                "An assembly continues behind %d shards",
                self.shards,
                extra={"action": "assembly", "batch_id": self._batch.id},
            )

    async def _take(self, run: SortedRun, content: bytes) -> None:
        await asyncio.to_thread(self._order.add, content[: run.order])
        await asyncio.to_thread(self._merge.add_run, content, run.order)
        self.shards = run.end
        self.lines += run.lines
        self.not_run += run.not_run

    # -- the run that is being bound -------------------------------------------------------------

    def _begin(self) -> None:
        self._first = self.shards
        self._run: dict[int, bytes] = {}  # encoded part lines by line number
        self._run_order = bytearray()
        self._run_not_run = 0
        self._size = 0  # bytes

    def _add(self, shard: Shard, results: ShardResults, missing: int) -> None:
        self._run |= results.lines
        if self._surviving:
            self._found.update(results.lines)
        self._run_order += order_of(results)
        self._run_not_run += missing
        self._size += sum(map(len, results.lines.values()))
        self.shards = shard.index + 1

    async def _add_large(self, shard: Shard) -> None:
        """Take up a shard part by part, after the run that has come together so far."""
        if self._run_order:
            await self._bind()
        results = ShardResults(keep=False)
        async for part in read_part_by_part(self._files, shard.parts):
            for line, raw in part:
                results.add_line(line, raw)
            await asyncio.to_thread(
                self._merge.add_large_run, [(line.line, raw) for line, raw in part]
            )
        results.keep = True  # error lines
        missing = await self._add_unanswered(shard, results)
        errors = [(number, raw) for number, raw in results.lines.items() if raw]
        await asyncio.to_thread(self._merge.add_large_run, errors)
        await asyncio.to_thread(self._order.add, order_of(results))
        self.shards = shard.index + 1
        self.lines += len(results.lines)
        self.not_run += missing
        self._begin()

    async def _bind(self) -> tuple[SortedRun, bytes]:
        """Take up the run that has come together and begin the next; the run as it is kept."""
        run = SortedRun(
            first=self._first,
            end=self.shards,
            lines=len(self._run),
            not_run=self._run_not_run,
            order=len(self._run_order),
        )
        content = await asyncio.to_thread(_joined, self._run_order, self._run)
        self._begin()
        await self._take(run, content)
        return run, content

    async def _results(self, shard: Shard) -> tuple[ShardResults, int] | None:
        """A closed shard's results, one for each of its lines; how many were never run. None: they
        are too large to be held in memory."""
        if not self._surviving:
            results = ShardResults()
            async for part in read_part_by_part(self._files, shard.parts):
                for line, raw in part:
                    results.add_line(line, raw)
                if results.size > MOST_BYTES:
                    return None
            return results, await self._add_unanswered(shard, results)
        results, lost = await read_surviving(self._files, await self._parts(shard))
        meters.PARTS_LOST.inc(lost)
        return results, await self._add_unanswered(shard, results, lost=lost)

    async def _add_unanswered(self, shard: Shard, results: ShardResults, *, lost: int = 0) -> int:
        """Add error lines for lines without a result; how many of them were never run."""
        missing = max(0, shard.lines - len(results.lines))
        if not missing:
            return 0
        if shard.tally.lines >= shard.lines and not self._surviving:
            raise RequestsLost(f"{shard.id} was closed without {missing} results")
        if self._batch.ending is None and not self._surviving:
            raise Corrupt(f"{shard.id} is closed without {missing} results")
        if self._batch.ending is None or lost:
            await self._add_surviving(shard, results, *RESULT_LOST)
            return 0
        await self._add_surviving(shard, results, *NOT_RUN[self._batch.ending])
        return missing

    async def _parts(self, shard: Shard) -> Sequence[ResultPart]:
        """Those that are recorded; of a shard that has lost its list, those that are stored."""
        if shard.parts or shard.tally.lines < shard.lines:
            return shard.parts
        return await earlier_parts(self._files, shard)

    async def _add_surviving(
        self, shard: Shard, results: ShardResults, code: str, message: str
    ) -> None:
        """Add error lines for the missing ones, as far as the shard's own lines are not lost."""
        try:
            await self._add_missing(shard, results, code, message)
        except (NotFound, msgspec.MsgspecError):
            if not self._surviving:
                raise
            self.unknown += shard.lines - len(results.lines)

    async def _add_missing(
        self, shard: Shard, results: ShardResults, code: str, message: str
    ) -> None:
        for raw in (await read_blob(self._files, shard.key)).splitlines():
            line = decode_shard_line(raw)
            for number, custom_id in ((line.line, line.custom_id), *line.copies):
                if number not in results.lines:
                    part = not_answered(
                        self._batch.id, number, custom_id, code=code, message=message
                    )
                    results.add(encode_part_line(part))


def _joined(order: bytes | bytearray, lines: dict[int, bytes]) -> bytes:
    """``order`` and all ``lines`` by number, which are gone from the dictionary afterwards: a run
    is some megabytes, and is not held twice."""
    content = BytesIO()
    content.write(order)
    for number in sorted(lines):
        content.write(lines.pop(number))
    return content.getvalue()
