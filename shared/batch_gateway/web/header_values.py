"""Parses headers with parameters: ``Content-Type`` and ``Content-Disposition``.

Parameter names are matched without case. A parameter with a ``*`` at the end of its name is an
extended value (RFC 8187, formerly RFC 5987): charset, language and percent-encoded text. RFC 6266
gives it precedence over the plain parameter of the same name. RFC 7578 forbids ``filename*`` in
forms, but .NET's HttpClient and others send it.

Each byte of a header is looked at a constant number of times.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

_CHARSETS = {"utf-8": "utf-8", "iso-8859-1": "latin-1", "us-ascii": "ascii"}
#: An encoded word (RFC 2047). Its parts hold no question mark, so matching is linear.
_ENCODED_WORD = re.compile(r"=\?([^?\s]+)\?([bBqQ])\?([^?\s]*)\?=")
_NOT_PLAIN = re.compile(r'[^ -~]|["\\]')


@dataclass(frozen=True, slots=True)
class HeaderValue:
    """A value and its parameters; names are in lower case. The first of two equal names counts."""

    value: str
    parameters: Mapping[str, bytes]

    def text(self, name: str) -> str | None:
        """The parameter ``name``: the extended value if it can be decoded, else the plain one.

        A plain value is UTF-8, or consists of encoded words (RFC 2047). None: there is neither.
        """
        extended = self.parameters.get(f"{name}*")
        if extended is not None and (text := _extended(extended)) is not None:
            return text
        plain = self.parameters.get(name)
        return None if plain is None else _words(plain.decode(errors="replace"))


def parse_header(header: str | bytes) -> HeaderValue:
    """``header`` taken apart. Never raises: what is malformed is left out or taken as it is.

    A ``str`` holds bytes as Latin-1, as ASGI servers give them.
    """
    raw = header.encode("latin-1", "replace") if isinstance(header, str) else header
    value, _, rest = raw.partition(b";")
    parameters: dict[str, bytes] = {}
    at = 0
    while at < len(rest):
        name, found, at = _parameter(rest, at)
        if name:
            parameters.setdefault(name, found)
    return HeaderValue(value.strip().decode("latin-1").lower(), parameters)


def attachment(filename: str) -> str:
    """A Content-Disposition with ``filename`` in both of RFC 6266's spellings; pure ASCII."""
    plain = _NOT_PLAIN.sub("_", filename)
    extended = quote(filename.encode("utf-8", "replace"), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}"


def _parameter(raw: bytes, at: int) -> tuple[str, bytes, int]:
    """Name and value of the parameter that begins at ``at``, and where the next one begins."""
    end = _index(raw, b";", at)
    equals = raw.find(b"=", at, end)
    if equals < 0:
        return "", b"", end + 1
    name = raw[at:equals].strip().decode("latin-1").lower()
    start = equals + 1
    while raw[start : start + 1] in (b" ", b"\t"):
        start += 1
    if raw[start : start + 1] != b'"':
        return name, raw[start:end].strip(), end + 1
    value, closed = _quoted(raw, start + 1)
    return name, value, _index(raw, b";", closed) + 1


def _quoted(raw: bytes, start: int) -> tuple[bytes, int]:
    """The quoted text that begins at ``start``, and where its closing quote is.

    Only a quote and a backslash can be escaped: browsers send ``C:\\temp\\in.jsonl`` as it is.
    """
    value = bytearray()
    at = start
    while at < len(raw):
        byte = raw[at]
        if byte == ord('"'):
            return bytes(value), at
        if byte == ord("\\") and raw[at + 1 : at + 2] in (b'"', b"\\"):
            at += 1
            byte = raw[at]
        value.append(byte)
        at += 1
    return bytes(value), at


def _index(raw: bytes, what: bytes, start: int) -> int:
    found = raw.find(what, start)
    return len(raw) if found < 0 else found


def _extended(raw: bytes) -> str | None:
    """The text of an extended value; None when it is malformed or in an unknown charset."""
    charset, _, rest = raw.decode("latin-1").partition("'")
    _, quoted, encoded = rest.partition("'")
    codec = _CHARSETS.get(charset.strip().lower())
    if codec is None or not quoted:
        return None
    try:
        return unquote_to_bytes(encoded.encode("latin-1")).decode(codec)
    except UnicodeDecodeError:
        return None


def _words(text: str) -> str:
    """``text`` with its encoded words decoded; as it is when it holds anything else."""
    decoded: list[str] = []
    at = 0
    stripped = text.strip()
    while at < len(stripped):
        word = _ENCODED_WORD.match(stripped, at)
        if word is None or (one := _word(*word.groups())) is None:
            return text
        decoded.append(one)
        at = word.end()
        while at < len(stripped) and stripped[at].isspace():
            at += 1
    return "".join(decoded) or text


def _word(charset: str, encoding: str, content: str) -> str | None:
    codec = _CHARSETS.get(charset.partition("*")[0].lower())  # RFC 2231 adds a language
    if codec is None:
        return None
    try:
        if encoding in "bB":
            return base64.b64decode(content + "=" * (-len(content) % 4)).decode(codec)
        return quopri.decodestring(content.encode("ascii"), header=True).decode(codec)
    except (binascii.Error, ValueError):  # UnicodeError is a ValueError
        return None
