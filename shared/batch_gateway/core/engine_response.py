"""Decodes the responses of engines into bounded values.

An answer is untrusted input: a body may be any bytes, a header may hold any byte, a count may be
negative, a fraction or larger than any integer column. Every value that leaves this module and
``engine_values`` fits where it goes: counts are whole numbers of 63 bits and never negative, texts
have a largest length and no control characters, durations have a largest value. The body itself is
never re-encoded.

A body may be passed on as a result when it is one JSON object as RFC 8259 defines it, so that every
JSON parser reads the result line. What that means for the odd ones:

- A byte order mark in front is removed: it is not part of the JSON text (RFC 8259, section 8.1).
- Line ends between tokens become blanks: a result line is one line.
- An escape of half a surrogate pair (``\\ud800``) is allowed by the grammar and passed on as it is.
- ``NaN``, ``Infinity``, control characters in strings, bytes that are not UTF-8, objects that nest
  deeper and whole numbers that are longer than most parsers read are not JSON: ``Malformed``.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from batch_gateway.core.engine_values import SHOWN, count, milliseconds

_T = TypeVar("_T")

_BOM = b"\xef\xbb\xbf"
_DEEPEST = 600  # levels; most parsers refuse 1,000, and the readers of a result line need some
#: A text, in which brackets are no brackets, or one of them.
_TEXT_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{}]')
_DIGITS = 4300  # of a whole number; Python's parser refuses longer ones
_RUN = b"0" * (_DIGITS + 1)
_AS_RUN = bytes(ord("0") if chr(byte) in "0123456789" else ord(" ") for byte in range(256))
_SURROGATES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair: 12 bytes
    rb"|u[dD][89a-fA-F][0-9a-fA-F]{2}"  # half of one: 6 bytes
    rb"|.)",  # any other escape: 2 bytes
    re.DOTALL,
)
_HALF = 6
#: Keys that occur beside an error without making the answer a success.
_BESIDE_ERRORS = frozenset(
    {
        *("error", "errors", "object", "message", "type", "param", "code", "status", "detail"),
        *("id", "created", "model", "success", "timestamp", "usage", "path", "request"),
    }
)

_NO_ERROR = (b"null", b"{}", b"[]", b'""', b"false", b"0")

Tokens = tuple[int, int, int, int]
"""Input, cached, output and reasoning tokens."""
NO_TOKENS: Tokens = (0, 0, 0, 0)


class MalformedResponse(ValueError):
    """A body is not one JSON object. The message contains the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseError:
    """An error object in OpenAI's form, or a form near to it; None: the answer has none."""

    status: int | None  # 400 to 599
    about_model: bool  # it is about a model


class ResponseBody(msgspec.Struct, frozen=True, kw_only=True):
    """A body that is one JSON object."""

    text: bytes  # the object, on one line; otherwise as it came
    tokens: Tokens
    error: ResponseError | None  # not None: there is an error object and nothing else
    halves: bool = False  # has escapes of half a surrogate pair, which strict parsers refuse
    first_token_ms: int | None = None  # time to the first token; None: it does not say


class _Details(msgspec.Struct):
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0


class _Usage(msgspec.Struct):
    """Usage objects of chat completions, completions, embeddings and responses."""

    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


_NULL = msgspec.Raw(b"null")


class _Timings(msgspec.Struct):
    """llama.cpp's."""

    prompt_ms: float | None = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None
    error: msgspec.Raw = _NULL
    object: msgspec.Raw = _NULL
    timings: _Timings | None = None


class _AnyAnswer(msgspec.Struct):
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    object: msgspec.Raw = _NULL


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_any = msgspec.json.Decoder(_AnyAnswer).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_value = msgspec.json.Decoder().decode


def decode(body: bytes) -> ResponseBody:
    """The content of ``body``. Raises Malformed unless it is one JSON object."""
    text = body.removeprefix(_BOM)
    if b"\n" in text or b"\r" in text:
        text = text.replace(b"\n", b" ").replace(b"\r", b" ")
    text = text.strip(b" \t")
    plain, halves = text, False
    try:
        if not text.isascii():
            text.decode()  # msgspec does not check the strings that it skips
        try:
            found = _read(text)
        except msgspec.DecodeError:
            plain, halves = without_halves(text), True
            if plain == text:
                raise
            found = _read(plain)
        if plain.count(b"[") + plain.count(b"{") > _DEEPEST and _depth(plain) > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
        if len(plain) > _DIGITS and _RUN in plain.translate(_AS_RUN):
            json.loads(plain)  # the digits may be those of a text
        return ResponseBody(
            text=text,
            tokens=_tokens(found.usage),
            error=_error(plain, bytes(found.error), bytes(found.object)),
            halves=halves,
            first_token_ms=milliseconds(found.timings.prompt_ms)
            if isinstance(found, _Answer) and found.timings is not None
            else None,
        )
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise MalformedResponse(str(error)) from error


def _depth(text: bytes) -> int:
    """How many levels deep JSON is nested: parsers differ, and so do releases of Python."""
    deepest = depth = 0
    for found in _TEXT_OR_BRACKET.finditer(text):
        first = text[found.start()]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= 1
    return deepest


def without_halves(text: bytes) -> bytes:
    """JSON whose escapes of half a surrogate pair are replaced, each by six other bytes."""
    return _SURROGATES.sub(lambda found: rb"\ufffd" if len(found[0]) == _HALF else found[0], text)


def tolerant(decode: Callable[[bytes], _T]) -> Callable[[bytes], _T]:
    """``decode`` for JSON that may have escapes of half a surrogate pair: they become U+FFFD."""

    def read(raw: bytes) -> _T:
        try:
            return decode(raw)
        except msgspec.DecodeError:
            plain = without_halves(raw)
            if plain == raw:
                raise
            return decode(plain)

    return read


def excerpt(body: bytes, longest: int = SHOWN) -> str:
    """The beginning of a body, for people: without control characters, whatever it is."""
    text = body[: 4 * longest].decode(errors="replace")
    shown = "".join(c if c.isprintable() else " " for c in text[:longest]).strip()
    return shown if len(text) <= longest and len(body) <= 4 * longest else f"{shown}…"


def _read(text: bytes) -> _Answer | _AnyAnswer:
    """Raises msgspec's errors or RecursionError unless ``text`` is one object."""
    try:
        return _decode_answer(text)
    except msgspec.ValidationError:  # a usage object of other types, or not an object at all
        return _decode_any(text)


def _tokens(usage: _Usage | msgspec.Raw | None) -> Tokens:
    """The tokens that an answer reports; zeros where it names none, or nothing that is a count."""
    if usage is None:
        return NO_TOKENS
    if not isinstance(usage, _Usage):
        return _odd_tokens(_members(usage))
    given = usage.prompt_tokens_details or usage.input_tokens_details
    made = usage.completion_tokens_details or usage.output_tokens_details
    return (
        count(usage.prompt_tokens) or count(usage.input_tokens),
        count(given.cached_tokens) if given else 0,
        count(usage.completion_tokens) or count(usage.output_tokens),
        count(made.reasoning_tokens) if made else 0,
    )


def _odd_tokens(usage: Mapping[str, Any]) -> Tokens:
    """The same for a usage object with other types: fractions, texts, lists."""
    given = _object(usage, "prompt_tokens_details") or _object(usage, "input_tokens_details")
    made = _object(usage, "completion_tokens_details") or _object(usage, "output_tokens_details")
    return (
        count(usage.get("prompt_tokens")) or count(usage.get("input_tokens")),
        count(given.get("cached_tokens")),
        count(usage.get("completion_tokens")) or count(usage.get("output_tokens")),
        count(made.get("reasoning_tokens")),
    )


def _members(raw: bytes | msgspec.Raw) -> Mapping[str, Any]:
    """An object's members; none for anything else."""
    try:
        value = _decode_value(raw)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return {}
    return value if isinstance(value, dict) else {}


def _object(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = members.get(name)
    return value if isinstance(value, dict) else {}


def _error(text: bytes, error: bytes, kind: bytes) -> ResponseError | None:
    """The error object that an answer consists of; None: there is none, or there is more.

    ``error`` and ``kind`` are its members ``error`` and ``object``.
    """
    if error in _NO_ERROR:
        if kind != b'"error"':
            return None
        described = _members(text)
    else:
        described = _members(error) or {"message": error.decode()}
    for name, value in _decode_members(text).items():
        beside = name in _BESIDE_ERRORS or name.endswith("_id") or bytes(value) == b"null"
        if not beside and not (name == "choices" and bytes(value) == b"[]"):
            return None
    return _described(described)


def _described(error: Mapping[str, Any]) -> ResponseError:
    words = " ".join(str(error.get(name)) for name in ("message", "type", "code", "param"))
    return ResponseError(status=_status_of(error), about_model="model" in words.lower())


def _status_of(error: Mapping[str, Any]) -> int | None:
    """The HTTP status in an error object."""
    for name in ("code", "status", "status_code"):
        value = error.get(name)
        if isinstance(value, str):
            value = int(value) if re.fullmatch(r"[45]\d\d", value, re.ASCII) else value
        if type(value) is int and 400 <= value <= 599:
            return value
    for name in ("code", "type"):
        if isinstance(word := error.get(name), str) and word.lower() in _WORDS:
            return _WORDS[word.lower()]
    return None


#: What OpenAI and engines call the errors that HTTP has a status for.
_WORDS = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "ratelimiterror": 429,
    "too_many_requests": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
    "service_unavailable": 503,
    "server_error": 500,
    "internal_error": 500,
    "internalservererror": 500,
    "timeout": 504,
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "context_length_exceeded": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "notfounderror": 404,
}
