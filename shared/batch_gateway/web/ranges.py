"""Range requests (RFC 9110, section 14): one range of bytes, or everything."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from batch_gateway.web.envelope import ApiError

_FORM = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``start`` to ``end`` (exclusive)."""

    start: int
    end: int
    whole: bool  # no range was asked for


def requested(headers: Headers, *, size: int, etag: str) -> ByteRange:
    """What of a blob of ``size`` bytes a request names.

    What is no single range of bytes is ignored, as the RFC allows, and so is a range of another
    version (If-Range). Raises ApiError 416 for a range that lies beyond the end.
    """
    everything = ByteRange(0, size, whole=True)
    match = _FORM.fullmatch(headers.get("range", ""))
    if match is None or headers.get("if-range", etag) != etag:
        return everything
    first, last = match.groups()
    if not first and not last:
        return everything
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < int(first):
            return everything
    if start >= end:
        raise ApiError(
            416,
            "The requested range lies beyond the end of the file.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return ByteRange(start, end, whole=False)
