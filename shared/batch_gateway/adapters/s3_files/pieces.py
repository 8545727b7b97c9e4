"""How stored blobs become the parts of one multipart upload.

S3 copies a part by itself, out of another object, when it has at least 5 MiB; only the last part
of an upload may be smaller. So what is smaller is gathered, together with as much of the next blob
as it takes to fill a part, and sent; all the rest is copied.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SMALLEST = 5 * 1024 * 1024  # bytes of a part that is not the last
LARGEST = 1024 * 1024 * 1024  # bytes that one request copies; S3's limit is 5 GiB


@dataclass(frozen=True, slots=True)
class BlobRange:
    """Bytes ``start`` to ``end`` of the blob number ``blob``."""

    blob: int
    start: int
    end: int


def pieces(sizes: Sequence[int]) -> Iterator[BlobRange | list[BlobRange]]:
    """The blobs of these ``sizes`` (bytes) as parts: a span to copy, or spans to send as one."""
    gathered: list[BlobRange] = []
    missing = 0  # bytes until what is gathered is a part
    for blob, size in enumerate(sizes):
        start = 0
        if gathered:
            start = min(size, missing)
            gathered.append(BlobRange(blob, 0, start))
            missing -= start
            if not missing:
                yield gathered
                gathered = []
        while size - start >= SMALLEST:
            end = min(size, start + LARGEST)
            yield BlobRange(blob, start, end)
            start = end
        if start < size:
            gathered.append(BlobRange(blob, start, size))
            missing = SMALLEST - (size - start)
    if gathered:
        yield gathered
