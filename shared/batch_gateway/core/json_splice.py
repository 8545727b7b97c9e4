"""Changes members of a JSON object without encoding the rest again.

What the user wrote stays byte for byte: order, spacing, big integers, even doubled keys. Only the
values that are named are replaced, wherever their key stands in the outermost object.
"""

import json
import re
from collections.abc import Mapping

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]', re.DOTALL)
_SPACE = b" \t\r\n"


def splice_members(body: bytes, values: Mapping[str, bytes]) -> bytes:
    """``body``, one valid JSON object, with these members (encoded values by key) set.

    A key that is there several times gets the value each time; one that is not there is appended.
    """
    pieces: list[bytes] = []
    copied = 0
    missing = dict(values)
    empty = True
    for key, begin, end in _members(body):
        empty = False
        if key in values:
            missing.pop(key, None)
            pieces += (body[copied:begin], values[key])
            copied = end
    if missing:
        close = body.rindex(b"}")
        added = b",".join(json.dumps(key).encode() + b":" + new for key, new in missing.items())
        pieces += (body[copied:close], b"" if empty else b",", added)
        copied = close
    pieces.append(body[copied:])
    return b"".join(pieces)


def _members(body: bytes) -> list[tuple[str, int, int]]:
    """Keys of the outermost object, and where each value begins and ends."""
    found: list[tuple[str, int, int]] = []
    depth = 0
    key, begin = "", -1
    last: re.Match[bytes] | None = None  # the token before
    for token in _TOKEN.finditer(body):
        mark = body[token.start()]
        if mark in b"{[":
            depth += 1
        elif mark == ord(":") and depth == 1 and begin < 0 and last is not None:
            key, begin = _key(last[0]), token.end()
        elif mark in b",}]":
            if depth == 1 and begin >= 0:
                value = body[begin : token.start()]
                start = begin + len(value) - len(value.lstrip(_SPACE))
                found.append((key, start, start + len(value.strip(_SPACE))))
                begin = -1
            if mark != ord(","):
                depth -= 1
        last = token
    return found


def _key(raw: bytes) -> str:
    """A key as decoders read it: it may be written with escapes."""
    return str(json.loads(raw)) if b"\\" in raw else raw[1:-1].decode()
