"""Checks values of database rows against the types of the model."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from batch_gateway.adapters.corrupt_rows import decoding
from batch_gateway.core.model import Batch, QueueEntry, Shard

T = TypeVar("T")


def checked(kind: str, type_: type[T], fields: Mapping[str, Any]) -> T:
    """The row of a ``kind`` with these fields as a ``type_``. Raises CorruptRow.

    Fields that the type does not have are left out.
    """
    with decoding(kind, fields.get("id", "without id")):
        return msgspec.convert(fields, type_, from_attributes=True)


def checked_batch(fields: Mapping[str, Any]) -> Batch:
    """The batch with these fields. Raises ValueError when one has a wrong type or is missing."""
    batch = msgspec.convert(fields, Batch)
    since: object = batch.status_since
    if since is None:
        raise ValueError(f"it has no {batch.status}_at")
    return batch


def checked_shard(fields: Mapping[str, Any]) -> Shard:
    """The shard with these fields. Raises ValueError when one has a wrong type or is missing."""
    return msgspec.convert(fields, Shard, from_attributes=True)


def checked_entry(fields: Mapping[str, Any]) -> QueueEntry:
    """The queue entry with these fields. Raises ValueError when one has a wrong type or is
    missing."""
    return msgspec.convert(fields, QueueEntry)
