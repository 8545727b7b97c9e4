"""One download, as blocking calls, that survives broken connections."""

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError

from batch_gateway.adapters.streams import CHUNK
from batch_gateway.core.errors import Unavailable

if TYPE_CHECKING:
    from botocore.response import StreamingBody

    from batch_gateway.adapters.s3_files.bucket import S3Bucket

_ATTEMPTS = 3  # without a byte in between


class BlobDownload:
    """Bytes ``start`` to ``end`` (exclusive, None: all) of a blob, in order.

    One request, whose body is read bit by bit. When it breaks off, the rest is asked for anew,
    of the same version of the blob. Used by one thread at a time.
    """

    def __init__(
        self, bucket: "S3Bucket", key: str, start: int, end: int | None, *, etag: str | None = None
    ) -> None:
        """``etag`` is the version that must be read, None: the one that is there."""
        self._bucket = bucket
        self._key = key
        self._next = start
        self._end = end
        self._etag = etag
        self._body: StreamingBody | None = None

    def read(self) -> bytes:
        """At most CHUNK bytes; none at the end."""
        broken: Exception | None = None
        for _ in range(_ATTEMPTS):
            if self._body is None and not self._open():
                return b""
            assert self._body is not None, "opened above"
            try:
                chunk = self._body.read(CHUNK)
            except (BotoCoreError, OSError) as error:
                broken = error
                self.close()
                continue
            self._next += len(chunk)
            return chunk
        raise Unavailable(f"download of {self._key} breaks off: {broken}") from broken

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _open(self) -> bool:
        """Ask for the rest; whether there is any."""
        found = self._bucket.get(self._key, self._next, self._end, self._etag)
        if found is None:
            return False
        self._body, self._etag = found
        return True
