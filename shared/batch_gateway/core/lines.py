"""Request and result lines as bytes: the hot path.

Bodies are ``msgspec.Raw``: what the user wrote goes to the engine byte for byte, and what the
engine answered goes to the user so too (big integers and key order survive).

Four forms:

- input line: OpenAI's ``{"custom_id", "method", "url", "body"}``;
- shard line: ``[line, custom_id, url, model, body, copies]``, one per request of a shard's object;
- part line: ``[line, ok, tokens, result, saved]``, where ``result`` is the finished result line;
  or a note of how often a line without result was tried, so that attempts are counted across
  leases;
- result line: OpenAI's ``{"id", "custom_id", "response", "error"}``.
"""

import msgspec
import xxhash

from batch_gateway.core.ids import BatchId, result_id
from batch_gateway.core.model import Tally, Usage


class InputLine(msgspec.Struct):
    """One line of an input file; UNSET where the key is missing."""

    custom_id: str | msgspec.UnsetType | None = msgspec.UNSET
    method: str | msgspec.UnsetType | None = msgspec.UNSET
    url: str | msgspec.UnsetType | None = msgspec.UNSET
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Named(msgspec.Struct):
    custom_id: str | None = None


class ShardLine(msgspec.Struct, array_like=True):
    line: int  # 1-based line number of the input
    custom_id: str
    url: str
    model: str
    body: msgspec.Raw
    copies: list[tuple[int, str]] = []  # line and custom_id of requests that are the same


class PartLine(msgspec.Struct, array_like=True):
    line: int
    ok: bool | None  # True: for the output file; False: for the error file; None: only a note
    tokens: tuple[
        int, int, int, int
    ]  # input, cached, output, reasoning; a note's: as attempted() says
    result: msgspec.Raw
    saved: int = 0  # tokens that this result would have cost, had it not been another line's too

    @property
    def tally(self) -> Tally:
        given, cached, made, reasoning = self.tokens
        return Tally(
            completed=int(self.ok is True),
            failed=int(self.ok is False),
            usage=Usage(
                input_tokens=given,
                cached_tokens=cached,
                output_tokens=made,
                reasoning_tokens=reasoning,
            ),
        )


NO_TOKENS = (0, 0, 0, 0)

_encode = msgspec.json.Encoder().encode
decode_input = msgspec.json.Decoder(InputLine).decode
_decode_named = msgspec.json.Decoder(_Named).decode
decode_shard_line = msgspec.json.Decoder(ShardLine).decode
decode_part_line = msgspec.json.Decoder(PartLine).decode


def encode_shard_line(line: ShardLine) -> bytes:
    return _encode(line) + b"\n"


def encode_part_line(line: PartLine) -> bytes:
    return _encode(line) + b"\n"


def custom_id_of(raw: bytes | None) -> str | None:
    """The ``custom_id`` of an input line that may be anything; None when it has none."""
    try:
        return _decode_named(raw or b"").custom_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def custom_id_hash(custom_id: str) -> bytes:
    """16 bytes that stand for it where millions are compared."""
    return xxhash.xxh3_128_digest(custom_id.encode())


class _Response(msgspec.Struct):
    status_code: int
    request_id: str
    body: msgspec.Raw


class _LineError(msgspec.Struct):
    code: str
    message: str


class _ResultLine(msgspec.Struct):
    id: str
    custom_id: str | None
    response: _Response | None
    error: _LineError | None


_decode_result = msgspec.json.Decoder(_ResultLine).decode


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


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


class _AnyObject(msgspec.Struct):
    """Checks that something is one JSON object, and looks no further."""


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_object = msgspec.json.Decoder(_AnyObject).decode


class Malformed(ValueError):
    """An endpoint's answer is not a JSON object."""


def answered(
    batch: BatchId, line: ShardLine, *, status: int, request_id: str | None, body: bytes
) -> PartLine:
    """The part line of an answer with any HTTP status; 2xx is a success.

    Line ends inside the body can only be white space between JSON tokens, so they are replaced by
    blanks; nothing else of it changes. Raises Malformed unless the body is one JSON object.
    """
    tokens = tokens_of(body)
    if b"\n" in body or b"\r" in body:
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    name = result_id(batch, line.line)
    result = _ResultLine(
        id=name,
        custom_id=line.custom_id,
        response=_Response(
            status_code=status, request_id=request_id or name, body=msgspec.Raw(body.strip())
        ),
        error=None,
    )
    return PartLine(
        line=line.line,
        ok=200 <= status < 300,
        tokens=tokens,
        result=msgspec.Raw(_encode(result)),
    )


def copied(batch: BatchId, original: PartLine, line: int, custom_id: str) -> PartLine:
    """The part line of a request that is the same as another: its result, under another name."""
    result = _decode_result(original.result)
    result.id, result.custom_id = result_id(batch, line), custom_id
    given, _, made, _ = original.tokens
    return PartLine(line, original.ok, NO_TOKENS, msgspec.Raw(_encode(result)), given + made)


def not_answered(
    batch: BatchId, line: int, custom_id: str | None, *, code: str, message: str
) -> PartLine:
    """The part line of a request that has no HTTP answer: ``response`` is null."""
    result = _ResultLine(
        id=result_id(batch, line),
        custom_id=custom_id,
        response=None,
        error=_LineError(code=code, message=message),
    )
    return PartLine(line=line, ok=False, tokens=NO_TOKENS, result=msgspec.Raw(_encode(result)))


def attempted(
    line: int, attempts: int, deaths: int = 0, aborts: int = 0, *, cut: bool = False
) -> PartLine:
    """A note that ``line`` has no result yet after ``attempts`` calls, and that, unless another
    note or a result follows, ``deaths`` workers died while it was in flight. ``aborts`` calls were
    ended in favour of others; ``cut``: the last one by the end of its activation."""
    tokens = (attempts, deaths, aborts, int(cut))
    return PartLine(line=line, ok=None, tokens=tokens, result=msgspec.Raw(b"null"))


def tokens_of(body: bytes) -> tuple[int, int, int, int]:
    """Input, cached, output and reasoning tokens of an answer; zeros where it names none.

    Raises Malformed unless ``body`` is one JSON object. A usage object of an unknown shape counts
    as none: a strange engine must not cost its users their answers.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look into the strings that it skips
        usage = _decode_answer(body).usage
    except msgspec.ValidationError:
        try:
            _decode_object(body)
        except msgspec.DecodeError as error:
            raise Malformed(str(error)) from error
        return NO_TOKENS
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from error
    if usage is None:
        return NO_TOKENS
    given = usage.prompt_tokens_details or usage.input_tokens_details
    made = usage.completion_tokens_details or usage.output_tokens_details
    return (
        usage.prompt_tokens or usage.input_tokens or 0,
        (given and given.cached_tokens) or 0,
        usage.completion_tokens or usage.output_tokens or 0,
        (made and made.reasoning_tokens) or 0,
    )
