"""Divides the ordered lines of a batch into shards.

A shard ends when the model changes, or when it has enough lines, bytes or estimated tokens; then it
ends where, in its last quarter, neighbours have least of their prompts in common, so that requests
that share a long prefix stay together. The cut depends on the references alone: planning again
gives the same shards.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from batch_gateway.core.prefix import shared

#: In place of its model for a line that cannot be run; sorts first, so such lines share shards.
INVALID = ""


class LineRef(NamedTuple):
    """Where one request line is, and where it belongs in the plan."""

    line: int  # 1-based line number of the input
    offset: int  # bytes from the start of the file
    length: int  # bytes, without the line end; 0: longer than a line may be
    model: str  # or INVALID
    prefix: bytes  # sort key: block hashes of the rendered prompt prefix
    cost: int  # estimated tokens
    custom_id_hash: bytes  # 16 bytes
    twin: bytes = b""  # 16 bytes, the same for requests that are the same; empty: like no other
    copies: int = 0  # other lines that get the result of this one


class ReusedAnswer(NamedTuple):
    """Where the result of a request is that another batch has answered already."""

    custom_id_hash: bytes  # 16 bytes
    file: int  # which of that batch's files: its place among them
    offset: int  # bytes from the start of the file
    length: int  # bytes, without the line end


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLimits:
    lines: int
    bytes: int
    cost: int  # estimated tokens


def cut_shards(refs: Iterable[LineRef], size: ShardLimits) -> Iterator[list[LineRef]]:
    """Group ordered references into shards; never an empty one."""
    shard: list[LineRef] = []
    lines = length = cost = 0
    for ref in refs:
        while shard and (
            ref.model != shard[-1].model
            or lines + ref.copies >= size.lines
            or length + ref.length > size.bytes
            or cost + ref.cost > size.cost
        ):
            end = len(shard) if ref.model != shard[-1].model else _seam(shard, ref)
            yield shard[:end]
            shard = shard[end:]
            lines = sum(1 + one.copies for one in shard)
            length = sum(one.length for one in shard)
            cost = sum(one.cost for one in shard)
        shard.append(ref)
        lines += 1 + ref.copies
        length += ref.length
        cost += ref.cost
    if shard:
        yield shard


def _seam(shard: list[LineRef], following: LineRef) -> int:
    """Where a full shard ends best: how many of its lines stay, at least three quarters."""
    least = (3 * len(shard) + 3) // 4
    lines = [*shard[least - 1 :], following]
    in_common = [shared(one.prefix, other.prefix) for one, other in pairwise(lines)]
    best = min(in_common)
    return len(shard) - in_common[::-1].index(best)
