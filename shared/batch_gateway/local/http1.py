"""Parses and writes heads of HTTP/1.1 messages, for the activator's proxy.

Headers pass as they came, in order and with their spelling, save those about one
connection only (RFC 9110, 7.6.1). A body keeps its length or its chunks' coding; the coding itself
is undone and done again, so that neither side is ever shown where a message ends by the other.
"""

from collections.abc import Sequence
from enum import Enum

Headers = Sequence[tuple[bytes, bytes]]

_HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}


class UnsupportedCoding(Exception):
    """A transfer coding other than chunked."""


class BodyFraming(Enum):
    """How the end of a body is found."""

    NONE = "no length given"  # a request has no body; an answer ends with its connection
    LENGTH = "content-length"
    CHUNKED = "chunked"


def framing(headers: Headers) -> BodyFraming:
    """Raises UnsupportedCoding. The parser has refused contradictions already."""
    found = BodyFraming.NONE
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                raise UnsupportedCoding(value.decode("latin-1"))
            return BodyFraming.CHUNKED
        if lowered == b"content-length":
            found = BodyFraming.LENGTH
    return found


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of ``name``, given in lower case; None if absent."""
    return next((value for key, value in headers if key.lower() == name), None)


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that are meant for the other end, not for this connection."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    dropped = _HOP_BY_HOP | named
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def head(start_line: bytes, headers: Headers, *own: tuple[bytes, bytes]) -> bytes:
    """A message's head, ready to be sent; ``own`` are headers of this connection."""
    lines = [start_line]
    lines += [name + b": " + value for name, value in headers]
    lines += [name + b": " + value for name, value in own]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
CLOSE = (b"connection", b"close")
IN_CHUNKS = (b"transfer-encoding", b"chunked")


def plain_answer(status: int, reason: str, text: str, *, close: bool) -> bytes:
    """A short answer of the platform's own."""
    body = f"{text}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
    ]
    if close:
        headers.append(CLOSE)
    return head(f"HTTP/1.1 {status} {reason}".encode(), headers) + body
