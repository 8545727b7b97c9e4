"""Uploads in parts: the declared file, the received parts and the state.

Parts may come in any order and at once; the list that completes the upload states which of them
make the file, and in which order. Expiry is not stored: a
pending upload whose time is over is read as expired.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from batch_gateway.core.ids import FileId, PartId, TenantId, UploadId


class UploadStatus(StrEnum):
    """States of an upload, spelled as on OpenAI's wire."""

    PENDING = "pending"  # takes parts
    COMPLETED = "completed"  # has become a file
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # was neither completed nor cancelled in time; never stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    id: UploadId
    tenant: TenantId
    status: UploadStatus
    purpose: str
    filename: str
    size: int  # bytes, as announced
    created_at: datetime
    expires_at: datetime  # from then on no part is taken
    file_lifetime_s: int | None = None  # None: the default of the file's purpose
    file_id: FileId | None = None  # None: not completed
    receipt: str | None = None  # what it was completed with, so that a repetition is recognized

    def status_at(self, now: datetime) -> UploadStatus:
        if self.status is UploadStatus.PENDING and self.expires_at <= now:
            return UploadStatus.EXPIRED
        return self.status


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPart:
    id: PartId
    upload: UploadId
    size: int  # bytes
    created_at: datetime
