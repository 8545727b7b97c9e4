"""Renders the prompt of a request approximately as an engine's chat template would.

Only for ordering: what counts is that prompts which share a beginning inside the engine share one
here. So text is decoded (the same words escaped differently, or as an array of parts, are the same
words), tools and tool calls are written without white space, an image or another attachment is the
digest of its URL or data, and the order is that of most templates: the system and developer
messages at the beginning, tools, everything else as it came. Sampling parameters are no part of a
prompt. What has an unexpected shape counts as the JSON that it is; the endpoint will judge it.
"""

from array import array
from typing import Any

import msgspec
import xxhash

_NOTHING = msgspec.Raw(b"")
_FIRST_ROLES = frozenset({"system", "developer"})
_TEXTS = ("text", "refusal", "output", "arguments", "reasoning_content")


class Prompt(msgspec.Struct):
    """The parts of a request body that planning uses, unparsed except ``messages``; empty when
    missing."""

    model: msgspec.Raw = _NOTHING
    stream: msgspec.Raw = _NOTHING
    messages: Any = _NOTHING  # nearly all of most bodies: parsed in the same pass
    tools: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING
    instructions: msgspec.Raw = _NOTHING
    input: msgspec.Raw = _NOTHING
    max_tokens: msgspec.Raw = _NOTHING
    max_completion_tokens: msgspec.Raw = _NOTHING
    max_output_tokens: msgspec.Raw = _NOTHING
    temperature: msgspec.Raw = _NOTHING
    seed: msgspec.Raw = _NOTHING


class _UnparsedPrompt(Prompt):
    """For a body whose messages are JSON that cannot be decoded, such as the number 1e999."""

    messages: msgspec.Raw = _NOTHING


_decode = msgspec.json.Decoder().decode
_decode_prompt = msgspec.json.Decoder(Prompt).decode
_decode_unparsed = msgspec.json.Decoder(_UnparsedPrompt).decode
_encode = msgspec.json.Encoder().encode


def read_prompt(body: bytes | msgspec.Raw) -> Prompt:
    """The parts of ``body``. Raises DecodeError when it is no JSON object."""
    try:
        return _decode_prompt(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_unparsed(body)


def render_prompt(prompt: Prompt) -> bytes:
    """The prompt as bytes, from its beginning."""
    turns = _turns("user", prompt.messages)
    if prompt.instructions:
        turns = [*_turns("system", prompt.instructions), *turns]
    if prompt.input:
        turns += _turns("user", prompt.input)
    pieces = [_turn(role, content) for role, content in turns]
    if tools := _tools(prompt.tools):
        first = 0
        while first < len(turns) and turns[first][0] in _FIRST_ROLES:
            first += 1
        pieces.insert(first, tools)
    if text := _text_prompt(prompt.prompt):
        pieces.insert(0, text)
    return b"".join(pieces)


def _turn(role: str, content: bytes) -> bytes:
    return b"<|%b|>%b" % (role.encode("utf-8", "replace"), content)


def _turns(role: str, raw: Any) -> list[tuple[str, bytes]]:
    """Role and content of each message; a text alone is one message of ``role``."""
    value = _value(raw)
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    return [_message(role, item) for item in items]


def _message(role: str, item: Any) -> tuple[str, bytes]:
    """A chat message, or an item of a response's input: a message, a call, its output."""
    if not isinstance(item, dict):
        return role, _content(item)
    if len(item) == 2:  # most messages have a role and a text, nothing else
        named, text = item.get("role"), item.get("content")
        if type(named) is str and type(text) is str:
            return named, text.encode("utf-8", "replace")
    named = item.get("role", item.get("type"))
    said = [_content(item["content"])] if "content" in item else []
    said += [_content(item[name]) for name in _TEXTS if name in item]
    if calls := item.get("tool_calls"):
        said.append(_encode(calls))
    return named if isinstance(named, str) else role, b"".join(said)


def _content(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if value is None:
        return b""
    if isinstance(value, list):
        return b"".join(map(_part, value))
    return _encode(value)


def _part(part: Any) -> bytes:
    """Text as it is; an attachment by its digest."""
    if not isinstance(part, dict):
        return _content(part)
    for name in _TEXTS:
        if isinstance(text := part.get(name), str):
            return text.encode("utf-8", "replace")
    return xxhash.xxh3_128_digest(_encode(_attachment(part)))


def _attachment(part: dict[str, Any]) -> Any:
    """What identifies an attachment: the URL of an image however it is written."""
    given = part.get("image_url")
    if isinstance(given, dict):
        given = given.get("url")
    return part if given is None else given


def _tools(raw: msgspec.Raw) -> bytes:
    value = _value(raw)
    return _encode(value) if value else b""


def _text_prompt(raw: msgspec.Raw) -> bytes:
    """The first of the prompts of a completion: text or token ids, a token being four bytes."""
    value = _value(raw)
    if isinstance(value, list) and value and not isinstance(value[0], int):
        value = value[0]
    if isinstance(value, list):
        try:
            return array("I", value).tobytes()
        except (TypeError, ValueError, OverflowError):
            pass
    return _content(value)


def _value(raw: Any) -> Any:
    """What ``raw`` holds; a value that is parsed already, as it is."""
    if not isinstance(raw, msgspec.Raw):
        return raw
    if not raw:
        return None
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return bytes(raw).decode("utf-8", "replace")
