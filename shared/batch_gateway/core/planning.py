"""Cutting an ordered batch into shards.

A shard ends when it has enough lines, bytes or estimated tokens, when the model changes, or -
once it is three quarters full - where the prefix changes, so that requests that share a prompt
stay together. The cut depends on the references alone: planning again gives the same shards.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from batch_gateway.core.prefix import HASH_WIDTH

#: In place of its model for a line that cannot be run; sorts first, so such lines share shards.
INVALID = ""


class LineRef(NamedTuple):
    """Where one request line is, and where it belongs in the plan."""

    line: int  # 1-based line number of the input
    offset: int  # bytes from the start of the file
    length: int  # bytes, without the line end; 0: longer than a line may be
    model: str  # or INVALID
    prefix: bytes  # sort key: chained block hashes of the rendered prompt prefix
    cost: int  # estimated tokens
    custom_id_hash: bytes  # 16 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSize:
    lines: int
    bytes: int
    cost: int  # estimated tokens


def cut(refs: Iterable[LineRef], size: ShardSize) -> Iterator[list[LineRef]]:
    """Group ordered references into shards; never an empty one."""
    shard: list[LineRef] = []
    length = cost = 0
    for ref in refs:
        if shard and (
            ref.model != shard[-1].model
            or len(shard) >= size.lines
            or length + ref.length > size.bytes
            or cost + ref.cost > size.cost
            or (len(shard) * 4 >= size.lines * 3 and _parts(shard[-1], ref))
        ):
            yield shard
            shard, length, cost = [], 0, 0
        shard.append(ref)
        length += ref.length
        cost += ref.cost
    if shard:
        yield shard


def _parts(last: LineRef, next_: LineRef) -> bool:
    """Whether two neighbours share no block of their prompts although they have some."""
    return bool(next_.prefix) and last.prefix[:HASH_WIDTH] != next_.prefix[:HASH_WIDTH]
