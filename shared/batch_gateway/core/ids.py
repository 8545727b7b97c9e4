"""Typed ids and their formats.

Prefixes are those that OpenAI's clients expect. A shard's id is its batch's id and its index, so
its kind is known without a look-up. Ids of facts derive from their cause (``core.events``).
"""

import hashlib
import re
from functools import lru_cache
from typing import NewType

TenantId = NewType("TenantId", str)  # owner of files and batches
FileId = NewType("FileId", str)  # file-...
BatchId = NewType("BatchId", str)  # batch_...
UploadId = NewType("UploadId", str)  # upload_...
PartId = NewType("PartId", str)  # part_...: a part of an upload
ShardId = NewType("ShardId", str)  # batch_....7
ActivationId = NewType(
    "ActivationId", str
)  # one open work.available request; also the holder of leases


_TENANT = re.compile(r"[A-Za-z0-9._:@/-]{1,128}", re.ASCII)


def tenant_id(name: str) -> TenantId | None:
    """``name`` as a tenant's; None when it holds what no database or log should meet."""
    return TenantId(name) if _TENANT.fullmatch(name) else None


def file_id(random: bytes) -> FileId:
    """``file-`` and 24 hex digits, from 12 random bytes."""
    return FileId(f"file-{random[:12].hex()}")


def batch_id(random: bytes) -> BatchId:
    """``batch_`` and 32 hex digits, from 16 random bytes."""
    return BatchId(f"batch_{random[:16].hex()}")


def upload_id(random: bytes) -> UploadId:
    """``upload_`` and 32 hex digits, from 16 random bytes."""
    return UploadId(f"upload_{random[:16].hex()}")


def part_id(random: bytes) -> PartId:
    """``part_`` and 32 hex digits, from 16 random bytes."""
    return PartId(f"part_{random[:16].hex()}")


def shard_id(batch: BatchId, index: int) -> ShardId:
    return ShardId(f"{batch}.{index}")


def split_shard_id(shard: ShardId) -> tuple[BatchId, int]:
    batch, _, index = shard.rpartition(".")
    return BatchId(batch), int(index)


@lru_cache(maxsize=4096)  # a call needs it for its header and for its result
def result_id(batch: BatchId, line: int) -> str:
    """The ``id`` of a result line: the same however often the line is run."""
    digest = hashlib.blake2b(f"{batch}/{line}".encode(), digest_size=16)
    return f"batch_req_{digest.hexdigest()}"
