"""Recovers what is readable of a shard's row that cannot be decoded."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from batch_gateway.core.ids import BatchId
from batch_gateway.core.model import ResultTally, Shard, ShardState

#: Greater than any epoch that a shard comes to: all parts that are found are earlier ones.
_LAST_EPOCH = 2**31 - 1

_TYPES: Mapping[str, Any] = {
    "model": str,
    "key": str,
    "lines": int,
    "cost": int,
    "epoch": int,
    "tally": ResultTally,
}


def mended(
    batch: BatchId, rows: Mapping[int, Mapping[str, object]], whole: Sequence[Shard], total: int
) -> list[Shard]:
    """Closed shards in place of ``rows`` (field values by index) that cannot be decoded.

    What can be decoded of each is kept. No part is recorded, but the tally counts a result of each
    line: so the assembler detects that results are lost, and searches the file store. How
    many lines a shard has that does not say so follows from the batch's ``total`` lines and its
    ``whole`` shards.
    """
    known = {index: _known(fields) for index, fields in rows.items()}
    left = total - sum(shard.lines for shard in whole)
    left -= sum(fields.get("lines", 0) for fields in known.values())
    shards = []
    for index, fields in known.items():
        if "lines" not in fields:
            fields["lines"], left = max(0, left), 0
        shards.append(_closed(batch, index, fields))
    return shards


def _known(fields: Mapping[str, object]) -> dict[str, Any]:
    found = {}
    for name, type_ in _TYPES.items():
        try:
            found[name] = msgspec.convert(fields.get(name), type_, from_attributes=True)
        except msgspec.ValidationError:
            continue
    return found


def _closed(batch: BatchId, index: int, known: Mapping[str, Any]) -> Shard:
    tally: ResultTally = known.get("tally", ResultTally())
    lines = known["lines"]
    return Shard(
        batch=batch,
        index=index,
        model=known.get("model", ""),
        key=known.get("key") or f"work/{batch}/lost/{index:06d}/lines.jsonl",
        lines=lines,
        cost=known.get("cost", 0),
        state=ShardState.CLOSED,
        epoch=min(known.get("epoch", _LAST_EPOCH) + 1, _LAST_EPOCH),
        tally=replace(tally, failed=max(tally.failed, lines - tally.completed)),
    )
