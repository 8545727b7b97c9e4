"""Chained batches: templates that build request bodies from the output of another batch.

A template is a body with placeholders in its texts: ``{{text}}`` is what the model has answered,
``{{custom_id}}`` the request's, and ``{{/choices/0/logprobs}}`` whatever that JSON pointer
(RFC 6901) leads to in the answer's body. A text that is nothing but a placeholder becomes the value
itself; inside a longer text it is spelled out. What is put in is never looked at for placeholders.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from batch_gateway.core.engine_response import tolerant
from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.excerpts import excerpt
from batch_gateway.core.ids import BatchId, FileId
from batch_gateway.core.lines import custom_id_of
from batch_gateway.core.model import Batch

LONGEST = 64 * 1024  # bytes of a template
DEEPEST = 50  # levels of a template: it is walked by functions that call themselves
_INDEX_DIGITS = 9  # of a place in a list; longer numbers lead nowhere
#: What is between the braces holds no brace, so matching takes linear time.
_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
_NAMED = ("text", "custom_id")


class _Response(msgspec.Struct):
    body: msgspec.Raw


class _Result(msgspec.Struct):
    custom_id: str
    response: _Response


_decode_result = tolerant(msgspec.json.Decoder(_Result).decode)


class UnfillablePlaceholder(Exception):
    """An answer has nothing where a placeholder points to, or too much."""


def after_of(batch: Batch) -> BatchId | None:
    """The batch whose output ``batch`` is made of; None: it has an input of its own."""
    after = batch.options.get("after")
    return None if after is None else BatchId(after["batch_id"])


def chained_file(batch: BatchId) -> FileId:
    """The input file of a chained batch, which is made when the other one has completed."""
    return FileId(f"file-{hashlib.blake2b(batch.encode(), digest_size=12).hexdigest()}")


def check_template(template: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for placeholders that mean nothing, and for what is no JSON."""
    if _is_deeper(template, DEEPEST):
        raise _refused(f"it is nested deeper than {DEEPEST} levels")
    if len(msgspec.json.encode(template)) > LONGEST:
        raise _refused(f"it is longer than {LONGEST} bytes")
    try:
        json.dumps(template, allow_nan=False)
    except ValueError:
        raise _refused("it has a number that is none, or is beyond all numbers") from None
    for name in _placeholders(template):
        if name not in _NAMED and not name.startswith("/"):
            raise _refused(
                f"'{{{{{excerpt(name)}}}}}' is neither text nor custom_id nor a JSON pointer"
            )


def request_line(raw: bytes, endpoint: str, template: Mapping[str, Any], longest: int) -> bytes:
    """The request that the template makes of one line of an output. Raises UnfillablePlaceholder.

    No more than ``longest`` bytes are put in: a template of a few KiB may name a long text
    thousands of times.
    """
    try:
        result = _decode_result(raw)
        answer = msgspec.json.decode(result.response.body)
    except (msgspec.DecodeError, RecursionError):
        raise UnfillablePlaceholder("the answer cannot be read as JSON") from None
    left = longest

    def value(name: str) -> Any:
        nonlocal left
        found = result.custom_id if name == "custom_id" else _value(answer, name)
        left -= len(_spelled(found))
        if left < 0:
            raise UnfillablePlaceholder(f"the request would be longer than {longest} bytes")
        return found

    try:
        return _line(result.custom_id, endpoint, _filled(template, value))
    except RecursionError:
        raise UnfillablePlaceholder("the answer is nested too deeply") from None


def empty_line(raw: bytes, endpoint: str) -> bytes:
    """A request that is refused when it is planned, in the place of one that cannot be made."""
    return _line(custom_id_of(raw), endpoint, None)


def _line(custom_id: str | None, endpoint: str, body: Any) -> bytes:
    line = {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": body}
    return msgspec.json.encode(line) + b"\n"


def _is_deeper(node: Any, levels: int) -> bool:
    """Whether ``node`` has more than so many levels."""
    match node:
        case Mapping():
            inner = list(node.values())
        case list():
            inner = node
        case _:
            return False
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


def _placeholders(node: Any) -> Iterator[str]:
    match node:
        case str():
            yield from (found.strip() for found in _PLACEHOLDER.findall(node))
        case Mapping():
            for each in node.values():
                yield from _placeholders(each)
        case list():
            for each in node:
                yield from _placeholders(each)


def _filled(node: Any, value: Callable[[str], Any]) -> Any:
    match node:
        case str():
            if whole := _PLACEHOLDER.fullmatch(node):
                return value(whole[1].strip())
            return _PLACEHOLDER.sub(lambda found: _spelled(value(found[1].strip())), node)
        case Mapping():
            return {key: _filled(each, value) for key, each in node.items()}
        case list():
            return [_filled(each, value) for each in node]
    return node


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _value(answer: Any, name: str) -> Any:
    return _text(answer) if name == "text" else _pointed(answer, name)


def _text(answer: Any) -> str:
    """The text of the model, in the answers of chat completions, completions and responses."""
    match answer:
        case {"choices": [{"message": {"content": str(text)}}, *_]}:
            return text
        case {"choices": [{"text": str(text)}, *_]}:
            return text
        case {"output": list(items)}:
            parts = [text for item in items for text in _said(item)]
            if parts:
                return "".join(parts)
    raise UnfillablePlaceholder("the answer has no text")


def _said(item: Any) -> Iterator[str]:
    """The texts of one item of a response's output."""
    match item:
        case {"type": "message", "content": list(parts)}:
            for part in parts:
                match part:
                    case {"type": "output_text", "text": str(text)}:
                        yield text


def _pointed(answer: Any, pointer: str) -> Any:
    found = answer
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and _is_index(key) and int(key) < len(found):
            found = found[int(key)]
        else:
            raise UnfillablePlaceholder(f"the answer has nothing at {excerpt(pointer)}")
    return found


def _is_index(key: str) -> bool:
    return key.isdecimal() and len(key) <= _INDEX_DIGITS


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid 'after.template': {why}.", param="after.template", code="invalid_value"
    )
