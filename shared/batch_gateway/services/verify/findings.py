"""Findings of a verification."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class StorageProblem(StrEnum):
    MISSING = "missing"  # a row names an object that is not there
    SIZE = "size"  # it has another length than recorded
    CHECKSUM = "checksum"  # it has other bytes than recorded
    CONTENT = "content"  # it cannot be what was written, and no checksum was recorded
    UNREADABLE = "unreadable"  # the store has it and does not give it out
    ROW = "row"  # a row of the database cannot be decoded
    ORPHAN = "orphan"  # an object that no row names: costs room, loses nothing

    @property
    def is_damage(self) -> bool:
        return self is not StorageProblem.ORPHAN


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFinding:
    problem: StorageProblem
    kind: str  # file, upload part, shard, part, batch; of an orphan the first word of its key
    key: str  # of the object in the file store; of a row its id
    owner: str | None = None  # id of the row that names it
    tenant: str | None = None
    detail: str = ""
    modified_at: datetime | None = None  # of an orphan


@dataclass(slots=True, kw_only=True)
class VerificationSummary:
    """Numbers of objects checked so far."""

    files: int = 0
    upload_parts: int = 0
    shards: int = 0
    parts: int = 0
    bytes: int = 0
    damaged: int = 0
    orphans: int = 0
