"""Validates request lines, with OpenAI's error codes and messages.

One pass per line and at most one error per line: the first that OpenAI would name. Bodies are
looked into, never rebuilt. A chat completion needs ``model`` and ``messages``, as in OpenAI's
batches. What another body needs is OpenAI's rule in strict mode and the engine's otherwise; then
only what routing depends on is checked.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import xxhash

from batch_gateway.core.lines import InputLine, decode_input
from batch_gateway.core.model import BatchError
from batch_gateway.core.prefix import UNORDERED, sort_key
from batch_gateway.core.prompt_rendering import Prompt, read_prompt

#: Paths that a batch's requests may go to, in the order of OpenAI's messages.
ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
)

#: Those of OpenAI and those that engines have beyond them: vLLM's score and rerank.
EXTENDED_ENDPOINTS = (*ENDPOINTS, "/v1/score", "/v1/rerank")

#: A batch's endpoint when each of its lines names its own.
ANY_ENDPOINT = "*"

#: What every request line must have, in the order in which it is missed.
REQUIRED = InputLine.__struct_fields__

#: Codes of errors that are found by looking at the line alone.
REFUSALS = frozenset(
    {
        "invalid_json_line",
        "missing_required_parameter",
        "invalid_type",
        "invalid_method",
        "invalid_url",
        "invalid_request",
        "streaming_unsupported",
        "mismatched_model",
        "duplicate_custom_id",
        "line_too_long",
    }
)

#: Model of a request that names none, where any name is served. The body stays without a model.
DEFAULT_MODEL = "default"

LONGEST_MODEL = 256  # characters
#: Levels of arrays and objects in a line. Every later parser of the line must be able to read it:
#: parsers count their own recursion, so without a limit a line passes in one process and raises
#: RecursionError in another.
DEEPEST = 256
_FEW = 8  # brackets of a kind in a line that most lines do not exceed
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|([\[{])|[\]}]', re.DOTALL)
_CHAT = "/v1/chat/completions"
_DEFAULT_OUTPUT_TOKENS = 256  # assumed where a request names no maximum
_BYTES_PER_TOKEN = 4
_NAMES = {
    "/v1/chat/completions": "Chat Completions",
    "/v1/completions": "Completions",
    "/v1/responses": "Responses",
}

_decode_text = msgspec.json.Decoder(str).decode
_decode_number = msgspec.json.Decoder(int).decode
_decode_decimal = msgspec.json.Decoder(float).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class ValidLine(NamedTuple):
    """What planning needs of a valid line."""

    custom_id: str
    model: str
    prefix: bytes  # sort key within the model
    cost: int  # estimated tokens, prompt and answer
    inputs: int = 0  # texts to embed; only counted where they are limited
    twin: bytes = b""  # the same for requests that need to be answered once only; else empty
    answer: int = 0  # the part of the cost that the answer has


class LineValidator:
    """Checks the lines of one batch."""

    def __init__(
        self, endpoint: str, *, models: frozenset[str], strict: bool, twins: bool = False
    ) -> None:
        """``models`` empty: any. ``strict``: all that OpenAI refuses is an error, so is an unknown
        model or a second one.

        ``twins``: compute a digest of each deterministic request, so that equal ones are found.
        """
        every = ENDPOINTS if strict else EXTENDED_ENDPOINTS
        self._endpoints = every if endpoint == ANY_ENDPOINT else (endpoint,)
        self._models = models
        self._strict = strict
        self._twins = twins
        self._first_model: str | None = None
        self._default_model = _default_model(models, strict=strict)

    def known(self, model: str) -> bool:
        """Whether requests to ``model`` can be routed at all."""
        return not self._models or model in self._models

    def check(self, line: int, raw: bytes) -> ValidLine | BatchError:
        """The valid line, or what is wrong with it. ``line`` is its 1-based number."""
        try:
            if not raw.isascii():
                raw.decode()  # the parser does not check the strings that it skips
            request = decode_input(raw)
        except RecursionError:
            return _too_deep(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _undecodable(line, error)
        if deeper(raw, DEEPEST):
            return _too_deep(line)
        return self._check_request(line, request)

    def _check_request(self, line: int, request: InputLine) -> ValidLine | BatchError:
        values = msgspec.structs.astuple(request)
        if None in values or msgspec.UNSET in values:
            return _missing(line, values)
        custom_id, method, url, body = values
        if method != "POST":
            return BatchError(
                code="invalid_method",
                message="The method of a batch request must be 'POST'.",
                param="method",
                line=line,
            )
        if url not in self._endpoints:
            return BatchError(
                code="invalid_url",
                message="The URL provided for this request does not match the batch endpoint.",
                param="url",
                line=line,
            )
        return self._check_body(line, custom_id, url, body)

    def _check_body(
        self, line: int, custom_id: str, url: str, body: msgspec.Raw
    ) -> ValidLine | BatchError:
        try:
            prompt = read_prompt(body)
        except msgspec.DecodeError:
            return _wrong(line, "body", "The body of a request must be a JSON object.")
        if _present(prompt.stream) and bytes(prompt.stream) != b"false":
            return BatchError(
                code="streaming_unsupported",
                message=f"{_NAMES.get(url, url)}: Streaming is not supported in the Batch API.",
                param="body.stream",
                line=line,
            )
        named = _present(prompt.model) or url == _CHAT
        model = _text(prompt.model) if named else self._default_model
        if not model:
            return _wrong(line, "body.model", "Model parameter is required.")
        if "\x00" in model or len(model) > LONGEST_MODEL:  # no database stores the character NUL
            return _wrong(line, "body.model", "This is no name of a model.")
        if (self._strict or url == _CHAT) and (error := _missing_content(line, url, prompt)):
            return error
        if self._strict and (error := self._check_model(line, model)):
            return error
        answer = _output_tokens(url, prompt)
        cost = len(memoryview(body)) // _BYTES_PER_TOKEN + answer
        inputs = _inputs(prompt.input) if self._strict and url == "/v1/embeddings" else 0
        twin = _twin(url, body) if self._twins and _deterministic(url, prompt) else b""
        return ValidLine(custom_id, model, sort_key(url, prompt), cost, inputs, twin, answer)

    def _check_model(self, line: int, model: str) -> BatchError | None:
        if not self.known(model):
            return BatchError(
                code="model_not_found",
                message=f"The provided model '{model}' is not supported by the Batch API.",
                param="body.model",
                line=line,
            )
        if self._first_model is None:
            self._first_model = model
        if model != self._first_model:
            return BatchError(
                code="mismatched_model",
                message=f"The provided model '{model}' does not match the model of the first "
                f"request, '{self._first_model}'. All requests of a batch must use one model.",
                param="body.model",
                line=line,
            )
        return None


def _default_model(models: frozenset[str], *, strict: bool) -> str | None:
    """The model of requests that name none; None: they must name one.

    It is one that is served, and no other model can be meant.
    """
    if strict:
        return None
    if len(models) == 1:
        return next(iter(models))
    return DEFAULT_MODEL if not models or DEFAULT_MODEL in models else None


def _missing(line: int, values: Sequence[Any]) -> BatchError:
    """The first of ``REQUIRED`` that a line with these ``values`` does not have."""
    name = next(
        name
        for name, value in zip(REQUIRED, values, strict=True)
        if value is None or value is msgspec.UNSET
    )
    return BatchError(
        code="missing_required_parameter",
        message=f"Missing required parameter: '{name}'.",
        param=name,
        line=line,
    )


def _missing_content(line: int, url: str, prompt: Prompt) -> BatchError | None:
    """What OpenAI's endpoint ``url`` demands besides a model, if the body does not have it."""
    if url == _CHAT and not _is_list(prompt.messages):
        return _wrong(line, "body.messages", "Messages parameter is required.")
    if url == "/v1/completions" and not _present(prompt.prompt):
        return _wrong(line, "body.prompt", "Prompt parameter is required.")
    if url in ("/v1/embeddings", "/v1/moderations") and not _present(prompt.input):
        return _wrong(line, "body.input", "Input parameter is required.")
    return None


def duplicate(line: int) -> BatchError:
    return BatchError(
        code="duplicate_custom_id",
        message="The custom ID for this request is a duplicate of the custom ID in another "
        "request.",
        param="custom_id",
        line=line,
    )


def deeper(raw: bytes, levels: int) -> bool:
    """Whether the JSON text ``raw``, which a parser has accepted, has more levels than ``levels``.

    The time is linear in the length of ``raw``; a line with few brackets costs next to nothing.
    """
    if levels >= 2 * _FEW and _has_few(raw, b"{") and _has_few(raw, b"["):
        return False
    if raw.count(b"[") + raw.count(b"{") <= levels:
        return False
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(raw):
        if found[1]:
            depth += 1
            if depth > levels:
                return True
        elif found[0][:1] != b'"':
            depth -= 1
    return False


def _has_few(raw: bytes, bracket: bytes) -> bool:
    """Whether at most ``_FEW`` are found; that is faster than counting, which reads each byte by
    itself."""
    at = -1
    for _ in range(_FEW + 1):
        at = raw.find(bracket, at + 1)
        if at < 0:
            return True
    return False


def _too_deep(line: int) -> BatchError:
    return BatchError(
        code="invalid_json_line",
        message=f"This line is nested deeper than {DEEPEST} levels, the most that a request may "
        "have.",
        line=line,
    )


def _undecodable(line: int, error: Exception) -> BatchError:
    if isinstance(error, msgspec.ValidationError):
        _, found, where = str(error).partition("`$.")
        if found:
            name = where.strip("`")
            return BatchError(
                code="invalid_type",
                message=f"Invalid type for '{name}': expected a string.",
                param=name,
                line=line,
            )
    return BatchError(
        code="invalid_json_line", message="This line is not parseable as valid JSON.", line=line
    )


def _wrong(line: int, param: str, message: str) -> BatchError:
    return BatchError(code="invalid_request", message=message, param=param, line=line)


def _present(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:4]) not in (b"", b"null")


def _is_list(value: Any) -> bool:
    """Whether ``value`` is a list, parsed or not."""
    if isinstance(value, msgspec.Raw):
        return bytes(memoryview(value)[:1]) == b"["
    return isinstance(value, list)


def _text(raw: msgspec.Raw) -> str | None:
    """The string that ``raw`` holds; None for anything else."""
    try:
        return _decode_text(raw)
    except msgspec.DecodeError:
        return None


def _inputs(raw: msgspec.Raw) -> int:
    """Texts in the ``input`` of an embeddings request; a list of numbers is one text's tokens."""
    try:
        found = _decode_list(raw)
    except msgspec.DecodeError:
        return 1
    listed = bool(found) and bytes(memoryview(found[0])[:1]) in (b'"', b"[")
    return len(found) if listed else 1


def _deterministic(url: str, prompt: Prompt) -> bool:
    """Whether asking twice is to give the same: nothing is sampled, or by a seed."""
    if url in UNORDERED:
        return True
    return _number(prompt.temperature) == 0 or _number(prompt.seed) is not None


def _number(raw: msgspec.Raw) -> float | None:
    """The number that ``raw`` holds; None for anything else."""
    try:
        return _decode_decimal(raw)
    except msgspec.DecodeError:
        return None


def _twin(url: str, body: msgspec.Raw) -> bytes:
    return xxhash.xxh3_128_digest(b"%b %b" % (url.encode(), bytes(body)))


def _output_tokens(url: str, prompt: Prompt) -> int:
    """Maximum tokens of the answer, by the limit in the request."""
    if url in UNORDERED:
        return 0
    for raw in (prompt.max_completion_tokens, prompt.max_tokens, prompt.max_output_tokens):
        if not raw:
            continue
        try:
            return max(0, min(_decode_number(raw), 1_000_000))
        except msgspec.DecodeError:
            continue
    return _DEFAULT_OUTPUT_TOKENS
