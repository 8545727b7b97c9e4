"""Selects failed requests by the codes or types of their errors.

A word is an error's code (``batch_expired``, ``rate_limit_exceeded``) or type, an HTTP status
(``429``), or a class of them (``5xx``).
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from batch_gateway.core.engine_response import tolerant
from batch_gateway.core.validation import REFUSALS


class _Error(msgspec.Struct):
    code: Any = None
    type: Any = None


class _Body(msgspec.Struct):
    error: _Error | None = None


class _Response(msgspec.Struct):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"null")


class _ErrorLine(msgspec.Struct):
    response: _Response | None = None
    error: _Error | None = None


_decode = tolerant(msgspec.json.Decoder(_ErrorLine).decode)
_decode_body = msgspec.json.Decoder(_Body).decode


class ErrorSelection:
    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(words)

    @staticmethod
    def refused(line: bytes) -> bool:
        """Whether the request was never valid: it may even have another one's name."""
        found = _decode(line)
        return found.response is None and found.error is not None and found.error.code in REFUSALS

    def admits(self, line: bytes) -> bool:
        """Whether one of the words is true of this line of an error file."""
        return not self._words.isdisjoint(words_of(line))


def words_of(line: bytes) -> list[str]:
    """Every word that is true of this line of an error file."""
    found = _decode(line)
    words = [] if found.error is None else _named(found.error)
    if found.response is not None:
        status = str(found.response.status_code)
        words += [status, f"{status[:1]}xx", *_of_body(found.response.body)]
    return words


def class_of(line: bytes) -> str:
    """What this line of an error file failed with: its status and its code or type, if any."""
    found = _decode(line)
    words = [] if found.response is None else [str(found.response.status_code)]
    if found.response is not None:
        words += _of_body(found.response.body)[:1]
    elif found.error is not None:
        words += _named(found.error)[:1]
    return " ".join(words) or "unknown"


def _of_body(body: msgspec.Raw) -> list[str]:
    """What the engine called it; engines answer in many forms."""
    try:
        error = _decode_body(body).error
    except msgspec.DecodeError:
        return []
    return [] if error is None else _named(error)


def _named(error: _Error) -> list[str]:
    return [str(name) for name in (error.code, error.type) if name is not None]
