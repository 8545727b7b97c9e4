"""Checks the content of a received file.

Words (name, purpose) are judged before any byte is read where they are known; what the bytes are
is learnt while they pass.
"""

import asyncio
import codecs
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.filenames import LONGEST_NAME, UNNAMED
from batch_gateway.core.ids import FileId, TenantId
from batch_gateway.core.layout import file_key
from batch_gateway.core.model import File
from batch_gateway.services.request_errors import invalid_value
from batch_gateway.settings import ApiSettings

BATCH, BATCH_OUTPUT = "batch", "batch_output"
#: What a user may upload a file for, in the order of OpenAI's messages.
PURPOSES = ("assistants", BATCH, "fine-tune", "vision", "user_data", "evals")

_MEASURED = 1024 * 1024  # bytes at a time: calling a thread costs as much as measuring some 50 KiB
_HEAD = 64 * 1024  # bytes of the beginning that are kept to judge the encoding
_BOM = b"\xef\xbb\xbf"


class MeasuredContent(Protocol):
    """Facts about a file's bytes."""

    size: int
    sha256: "hashlib._Hash"

    @property
    def lines(self) -> int: ...


class ContentCheck:
    """Facts about a file's bytes, collected while they pass.

    Digests are made in a thread, beside the passing of the next bytes; so all but ``size`` holds
    only when the last byte has passed.
    """

    def __init__(self, *, md5: bool = False) -> None:
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False) if md5 else None  # None: not requested
        self._line_ends = 0
        self._head = b""
        self._last = b"\n"

    @property
    def lines(self) -> int:
        return self._line_ends + (self._last != b"\n")

    async def measured(self, chunks: AsyncIterable[bytes], limit: int) -> AsyncIterator[bytes]:
        """``chunks``, measured as they pass. Raises InvalidRequest over ``limit`` bytes."""
        passed: list[bytes] = []
        waiting = 0
        measuring: asyncio.Future[None] | None = None
        try:
            async for chunk in chunks:
                self.size += len(chunk)
                if self.size > limit:
                    raise too_large()
                if len(self._head) < _HEAD:
                    self._head += chunk[: _HEAD - len(self._head)]
                passed.append(chunk)
                waiting += len(chunk)
                if waiting >= _MEASURED:
                    if measuring is not None:
                        await measuring
                    measuring = asyncio.ensure_future(asyncio.to_thread(self._measure, passed))
                    passed, waiting = [], 0
                yield chunk
        finally:
            if measuring is not None:
                await asyncio.wait([measuring])
        self._measure(passed)

    def _measure(self, chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            self.sha256.update(chunk)
            if self.md5 is not None:
                self.md5.update(chunk)
            self._line_ends += chunk.count(b"\n")
            self._last = chunk[-1:] or self._last

    def begins_as_utf8(self) -> bool:
        """Whether the first line that is not blank is UTF-8, as far as it was kept."""
        first, end, _ = self._head.removeprefix(_BOM).lstrip().partition(b"\n")
        cut = not end and len(self._head) < self.size
        try:
            codecs.getincrementaldecoder("utf-8")().decode(first, final=not cut)
        except UnicodeDecodeError:
            return False
        return True


class FileRules:
    """What this installation takes as a file."""

    def __init__(self, api: ApiSettings) -> None:
        self._api = api

    def judge_words(self, filename: str, purpose: str) -> None:
        """Raises InvalidRequest when no content could make it a file."""
        if purpose not in PURPOSES:
            raise invalid_value(purpose, PURPOSES, param="purpose")
        if len(filename) > LONGEST_NAME:
            raise InvalidRequest(
                f"Invalid 'file': the file name is longer than {LONGEST_NAME} characters.",
                param="file",
            )
        if purpose == BATCH and not self._named_as_jsonl(filename):
            raise not_jsonl()

    def judge_content(self, content: ContentCheck, purpose: str) -> None:
        """Raises InvalidRequest when ``content`` is not what ``purpose`` demands.

        As at OpenAI, lines are validated when a batch is planned, not at upload. Only another
        encoding is refused here, since no line of such a file can be right.
        """
        if purpose == BATCH and not content.begins_as_utf8():
            raise not_utf8()

    def limit(self, purpose: str | None) -> int:
        """Most bytes of a file that comes in one piece; ``purpose`` None: not known yet."""
        api = self._api
        if purpose is None:
            return max(api.max_file_bytes, api.max_other_file_bytes)
        return api.max_file_bytes if purpose == BATCH else api.max_other_file_bytes

    def limit_in_parts(self, purpose: str) -> int:
        """Most bytes of a file that comes as an upload in parts."""
        return self._api.max_file_bytes if purpose == BATCH else self._api.max_upload_bytes

    def file(
        self,
        id_: FileId,
        tenant: TenantId,
        content: ContentCheck,
        *,
        filename: str,
        purpose: str,
        expires_after: timedelta | None,
        now: datetime,
    ) -> File:
        """The row of a file that begins to exist ``now``; ``expires_after`` None: the default."""
        if expires_after is None and purpose == BATCH and self._api.file_expiry_s:
            expires_after = timedelta(seconds=self._api.file_expiry_s)
        return file_of(
            id_,
            tenant,
            content,
            filename=filename,
            purpose=purpose,
            created_at=now,
            expires_at=None if expires_after is None else now + expires_after,
        )

    def _named_as_jsonl(self, filename: str) -> bool:
        """OpenAI insists on the extension.

        The SDKs send the name ``upload`` for a stream that has none. The extended mode accepts it:
        the user has not chosen that name, and planning validates each line.
        """
        if filename.lower().endswith(".jsonl"):
            return True
        return filename == UNNAMED and self._api.mode == "extended"


def file_of(
    id_: FileId,
    tenant: TenantId,
    content: MeasuredContent,
    *,
    filename: str,
    purpose: str,
    created_at: datetime,
    expires_at: datetime | None,
) -> File:
    """The row of a file with this content, under the key that its id gives it."""
    return File(
        id=id_,
        tenant=tenant,
        purpose=purpose,
        filename=filename,
        size=content.size,
        lines=content.lines if purpose in (BATCH, BATCH_OUTPUT) else None,
        sha256=content.sha256.hexdigest(),
        key=file_key(id_),
        created_at=created_at,
        expires_at=expires_at,
    )


def too_large() -> InvalidRequest:
    return InvalidRequest("File is too large.")


def not_jsonl() -> InvalidRequest:
    return InvalidRequest("Invalid file format for Batch API. Must be .jsonl")


def not_utf8() -> InvalidRequest:
    return InvalidRequest("Invalid file for Batch API. Must be utf-8 encoded")
