"""Reads and writes the result lines of one shard.

A shard is small (some hundred lines), so its results are held in memory as a whole, unless they are
large (embeddings of many inputs, images): then they are read part by part. Of several
results for one line the first wins, in the order of the accepted list. That order is kept whatever
becomes of the shard, because readers count by it (``results.stream``): results only ever come
behind those that are there.
"""

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

import msgspec

from batch_gateway.core.errors import Corrupt, NotFound
from batch_gateway.core.layout import (
    lease_prefix,
    part_key,
    part_of_key,
    parts_prefix,
    verifies,
)
from batch_gateway.core.lines import CallRecord, PartLine, decode_part_line
from batch_gateway.core.model import ResultPart, ResultTally, Shard
from batch_gateway.core.result_totals import ResultTotals
from batch_gateway.ports.files import FileStore

logger = logging.getLogger(__name__)

MOST_BYTES = 16 * 1024 * 1024
"""Of results of a shard that are held in memory together, and of a part; one line may be longer."""


class ShardResults:
    """Encoded part lines by line number; notes of attempts beside them."""

    def __init__(self, *, keep: bool = True) -> None:
        """``keep``: whether lines that are added are kept; otherwise only their numbers are."""
        self.keep = keep
        self.lines: dict[int, bytes] = {}  # empty ones, unless they are kept
        self.size = 0  # bytes of all lines
        self.failed: set[int] = set()  # of those lines, the ones for the error file
        self.attempts: dict[int, int] = {}  # calls made for lines without a result
        self.deaths: dict[int, int] = {}  # of workers while these lines were in flight
        self.aborts: dict[int, int] = {}  # calls of these lines that were ended for others
        self.cut: set[int] = set()  # lines whose call the end of an activation cut
        self.calls: dict[int, CallRecord] = {}  # why lines without a result were tried again
        self.totals = ResultTotals()

    @property
    def tally(self) -> ResultTally:
        """What the lines come to, with the statistics of their calls."""
        return self.totals.whole_tally

    def add(self, content: bytes) -> None:
        """Take up the part lines of ``content``; those already known are left alone."""
        for raw in content.splitlines(keepends=True):
            self.add_line(decode_part_line(raw), raw)

    def add_line(self, line: PartLine, raw: bytes) -> None:
        """Take up a part line, unless it is known already; ``raw`` is how it is encoded."""
        if line.ok is None:
            self._note(line.line, *line.tokens)
            if line.call is not None:
                self.calls[line.line] = line.call
        elif line.line not in self.lines:
            self.lines[line.line] = raw if self.keep else b""
            self.size += len(raw)
            if not line.ok:
                self.failed.add(line.line)
            self.totals.add(line)

    def _note(self, line: int, attempts: int, deaths: int, aborts: int, cut: int) -> None:
        self.attempts[line], self.deaths[line], self.aborts[line] = attempts, deaths, aborts
        self.cut.discard(line)
        if cut:
            self.cut.add(line)

    def retries(self, line: int) -> dict[str, int]:
        """Failed attempts of a line without a result, by reason."""
        return dict(self.calls[line].retries) if line in self.calls else {}

    def ended_calls(self, line: int) -> dict[str, int]:
        """Calls of a line without a result that the gateway ended, by reason."""
        return dict(self.calls[line].aborts) if line in self.calls else {}

    def content(self) -> bytes:
        """All results in the order in which they came about, as the content of one part."""
        return b"".join(self.lines.values())


def divided(lines: Iterable[bytes], most: int) -> Iterator[list[bytes]]:
    """``lines`` in pieces of up to ``most`` bytes; a longer line is a piece of its own."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > most:
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield piece


async def write_part(
    files: FileStore, shard: Shard, sequence: int, lines: Iterable[bytes]
) -> ResultPart:
    """Store encoded part lines as one part of the lease that ``shard`` is held under."""
    encoded = list(lines)
    content = b"".join(encoded)
    count = content.count(b"\n")
    key = part_key(shard, sequence, content, count)
    await files.put(key, content)
    return ResultPart(key=key, lines=count)


async def earlier_parts(files: FileStore, shard: Shard) -> list[ResultPart]:
    """Parts in the store that were written under earlier leases of ``shard``, in order.

    To be called once, after the present epoch is committed: what an earlier holder writes later
    must never count. Those of the newest lease come first: readers have had them already, and
    what a holder before it wrote too late must not come in front of them.
    """
    found = []
    async for blob in files.list(parts_prefix(shard)):
        named = part_of_key(blob.key)
        if named is not None and named[0] < shard.epoch:
            found.append(named)
    found.sort(key=lambda named: -named[0])  # stable: those of one lease stay in order
    return [part for _, part in found]


async def present_parts(files: FileStore, shard: Shard) -> list[ResultPart]:
    """Parts that the present holder of ``shard`` has stored so far, in order.

    They count only if the lease is still the shard's after this call.
    """
    return [
        named[1]
        async for blob in files.list(lease_prefix(shard))
        if (named := part_of_key(blob.key)) is not None
    ]


async def read_new(
    files: FileStore, parts: Sequence[ResultPart], results: ShardResults
) -> Sequence[ResultPart]:
    """Add parts that are not recorded yet to ``results``; returns those that verify, the others
    are left out."""
    good = []
    for part in parts:
        content = await read_blob(files, part.key)
        if not verifies(part, content):
            logger.error(
                "A part is damaged and left out", extra={"action": "part", "key": part.key}
            )
            continue
        try:
            results.add(content)
        except msgspec.MsgspecError:  # the lines before it are taken up
            logger.exception("A part is unreadable", extra={"action": "part", "key": part.key})
            continue
        good.append(part)
    return good


async def read_recorded(
    files: FileStore, parts: Sequence[ResultPart], *, keep: bool = True
) -> ShardResults:
    """Read parts that are recorded; ``keep``: with the lines themselves. Raises Corrupt when one is
    missing or damaged."""
    results = ShardResults(keep=keep)
    for part in parts:
        try:
            results.add(await _recorded(files, part))
        except msgspec.MsgspecError as error:
            raise Corrupt(f"recorded part {part.key} is unreadable: {error}") from error
    return results


async def read_contents(files: FileStore, parts: Sequence[ResultPart]) -> list[bytes]:
    """The encoded lines of recorded parts. Raises Corrupt when one is missing or damaged."""
    return [await _recorded(files, part) for part in parts]


async def read_part_by_part(
    files: FileStore, parts: Sequence[ResultPart]
) -> AsyncIterator[list[tuple[PartLine, bytes]]]:
    """The results of each recorded part, decoded and encoded, without those of lines that an
    earlier part has. One part is held in memory. Raises Corrupt as ``read_recorded``."""
    known: set[int] = set()
    for part in parts:
        found = []
        try:
            for raw in (await _recorded(files, part)).splitlines(keepends=True):
                line = decode_part_line(raw)
                if line.ok is not None and line.line not in known:
                    known.add(line.line)
                    found.append((line, raw))
        except msgspec.MsgspecError as error:
            raise Corrupt(f"recorded part {part.key} is unreadable: {error}") from error
        yield found


async def read_surviving(files: FileStore, parts: Sequence[ResultPart]) -> tuple[ShardResults, int]:
    """Read what is left of recorded parts; also how many of them are lost, wholly or in part.

    Only for parts that count as lost for good (``losses``). Raises Unavailable.
    """
    results, lost = ShardResults(), 0
    for part in parts:
        try:
            content = await _recorded(files, part)
        except Corrupt as error:
            logger.error("A part is lost: %s", error, extra={"action": "lost", "key": part.key})
            lost += 1
            continue
        lost += not _add_readable(results, content)
    return results, lost


def _add_readable(results: ShardResults, content: bytes) -> bool:
    """Take up the lines that can be decoded; whether all can."""
    unreadable = 0
    for raw in content.splitlines(keepends=True):
        try:
            results.add(raw)
        except msgspec.MsgspecError:
            unreadable += 1
    return not unreadable


async def _recorded(files: FileStore, part: ResultPart) -> bytes:
    try:
        content = await read_blob(files, part.key)
    except NotFound as error:
        raise Corrupt(f"recorded part {part.key} is missing") from error
    if not verifies(part, content):
        raise Corrupt(f"recorded part {part.key} is damaged")
    return content


async def read_blob(files: FileStore, key: str) -> bytes:
    """A whole blob; for small ones."""
    return b"".join([chunk async for chunk in files.read(key)])
