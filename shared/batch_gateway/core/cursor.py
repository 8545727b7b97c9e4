"""Cursor of a results stream: the position of a client in the results of a batch, as opaque text.

Results of a shard have an order that never changes while they become more: that in which they were
stored. So one number per shard is enough, and most shards are given whole or not at all. Once a
batch has ended there are only its files, in input order; from then on a place in them is added, and
what was given before is left out there (``core.completion_order``).

The word is opaque: a JSON array, compressed, in URL-safe base64.
"""

import base64
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from batch_gateway.core.ids import BatchId

#: In place of a number: every line of the shard was given, and there will not be more.
WHOLE = -1

_LARGEST = 4 * 1024 * 1024  # bytes of a cursor that is not compressed


@dataclass(frozen=True, slots=True)
class ResultFilePosition:
    """In the files of a batch that has ended."""

    error_file: bool = False  # the output file comes first
    offset: int = 0  # bytes
    line: int = 0  # lines before it in the same file


@dataclass(frozen=True, slots=True)
class ResultCursor:
    given: Mapping[int, int] = field(default_factory=dict)  # shard -> lines, or WHOLE
    place: ResultFilePosition | None = None  # None: the batch had not ended

    def encode(self, batch: BatchId) -> str:
        whole = sorted(shard for shard, lines in self.given.items() if lines == WHOLE)
        begun = sorted((shard, n) for shard, n in self.given.items() if n > 0)
        place = None
        if self.place is not None:
            place = (self.place.error_file, self.place.offset, self.place.line)
        packed = _Packed(_checked(batch), list(_runs(whole)), begun, place)
        raw = zlib.compress(msgspec.json.encode(packed), 6)
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    @classmethod
    def decode(cls, word: str, batch: BatchId) -> "ResultCursor | None":
        """The cursor that ``word`` is; None when it is none of this batch."""
        try:
            raw = base64.b64decode(word.encode() + b"=" * (-len(word) % 4), b"-_", validate=True)
            unpacking = zlib.decompressobj()
            text = unpacking.decompress(raw, _LARGEST)
            packed = _decode(text)
        except (ValueError, zlib.error, msgspec.DecodeError):
            return None
        shards = sum(n for _, n in packed.whole) + len(packed.begun)
        if packed.batch != _checked(batch) or shards > _MOST_SHARDS:
            return None
        given = {shard: WHOLE for start, n in packed.whole for shard in range(start, start + n)}
        given |= dict(packed.begun)
        return cls(given, None if packed.place is None else ResultFilePosition(*packed.place))


_MOST_SHARDS = 500_000  # more than any batch has: a forged cursor takes no memory
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Packed(msgspec.Struct, array_like=True):
    batch: int  # a few bits of its id, so that another batch's cursor is refused
    whole: list[tuple[_Number, _Number]]  # runs: first shard, how many
    begun: list[tuple[_Number, _Number]]  # shard, lines
    place: tuple[bool, _Number, _Number] | None


_decode = msgspec.json.Decoder(_Packed).decode


def _checked(batch: BatchId) -> int:
    return zlib.crc32(batch.encode())


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """``numbers``, ascending, as (first, how many) of each stretch without a gap."""
    first, count = 0, 0
    for number in numbers:
        if count and number == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = number, 1
    if count:
        yield first, count
