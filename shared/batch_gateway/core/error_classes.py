"""Groups failed requests by error; a retry can select groups by their names."""

from typing import Any

import msgspec

from batch_gateway.core.engine_response import tolerant

_LONGEST_NAME = 64
_LONGEST_MESSAGE = 300
_LONGEST_ID = 128


class ErrorClass(msgspec.Struct, omit_defaults=True):
    """Failed requests with the same error, and one of them as an example."""

    count: int = 0
    line: int = 0  # of the example
    custom_id: str | None = None
    message: str = ""


class _Error(msgspec.Struct):
    code: Any = None
    type: Any = None
    message: Any = None


class _Body(msgspec.Struct):
    error: _Error | None = None
    message: Any = None


class _Response(msgspec.Struct):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"null")


class _ErrorLine(msgspec.Struct):
    custom_id: str | None = None
    response: _Response | None = None
    error: _Error | None = None


_decode = tolerant(msgspec.json.Decoder(_ErrorLine).decode)
_decode_body = tolerant(msgspec.json.Decoder(_Body).decode)


def error_of(line: bytes) -> tuple[str, str | None, str]:
    """Name, ``custom_id`` and message of a line of an error file.

    The name is the code of an error that the gateway reports, else the code, else the type of the
    error that the engine reports, else the HTTP status of its answer: a word that
    ``error_selection`` accepts.
    """
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "unreadable", None, ""
    custom_id = None if found.custom_id is None else found.custom_id[:_LONGEST_ID]
    if found.response is None:
        error = found.error or _Error()
        return _name(error) or "unknown", custom_id, _text(error.message)
    status = str(found.response.status_code)
    try:
        body = _decode_body(bytes(found.response.body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return status, custom_id, ""
    error = body.error or _Error(message=body.message)
    return _name(error) or status, custom_id, _text(error.message)


def _name(error: _Error) -> str | None:
    """A code or type that can be a name; engines also write numbers and whole sentences there."""
    for word in (error.code, error.type):
        if isinstance(word, int) and not isinstance(word, bool):
            word = str(word)
        if isinstance(word, str) and 0 < len(word) <= _LONGEST_NAME and word.isprintable():
            return word
    return None


def _text(message: Any) -> str:
    return message[:_LONGEST_MESSAGE] if isinstance(message, str) else ""
