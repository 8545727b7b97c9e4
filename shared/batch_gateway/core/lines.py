"""Request and result lines as bytes: the hot path.

Bodies are ``msgspec.Raw``: what the user wrote goes to the engine byte for byte, and what the
engine answered goes to the user so too (big integers and key order survive;
``core.engine_response`` defines what an answer must be).

Four forms:

- input line: OpenAI's ``{"custom_id", "method", "url", "body"}``;
- shard line: ``[line, custom_id, url, model, body, copies]``, one per request of a shard's object;
- part line: ``[line, ok, tokens, result, saved, call]``, where ``result`` is the finished result
  line, as a JSON text inside a JSON string if it has escapes that strict parsers refuse; or a note
  of how often a line without result was tried, so that attempts are counted across leases. ``call``
  is what statistics need: ``[ended_at, took_ms, first_token_ms, retries, aborts]``;
- result line: OpenAI's ``{"id", "custom_id", "response", "error"}``.
"""

from collections.abc import Iterable

import msgspec
import xxhash

from batch_gateway.core.engine_response import NO_TOKENS, ResponseBody, tolerant, without_halves
from batch_gateway.core.engine_values import count, total
from batch_gateway.core.ids import BatchId, result_id
from batch_gateway.core.model import ResultTally, TokenUsage


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


class CallRecord(msgspec.Struct, array_like=True):
    """The call that gave a line its result, and the ones before it."""

    ended_at: int  # Unix seconds; 0 in a note
    took_ms: int = -1  # -1: the line was answered by the call of another line
    first_token_ms: int = -1  # -1: the engine does not report it
    retries: dict[str, int] = {}  # failed attempts before, by reason
    aborts: dict[str, int] = {}  # calls before that the gateway ended, by reason


class PartLine(msgspec.Struct, array_like=True):
    line: int
    ok: bool | None  # True: for the output file; False: for the error file; None: only a note
    tokens: tuple[
        int, int, int, int
    ]  # input, cached, output, reasoning; a note's: as attempted() says
    result: msgspec.Raw  # as it is stored; ``result_line`` is what users read
    saved: int = 0  # tokens that this result would have cost, had it not been another line's too
    call: CallRecord | None = (
        None  # None: no call was made, or a release before this field wrote it
    )

    @property
    def result_line(self) -> bytes:
        """The finished result line, without its line end."""
        stored = bytes(self.result)
        return _decode_text(stored).encode() if stored.startswith(b'"') else stored

    @property
    def tally(self) -> ResultTally:
        given, cached, made, reasoning = map(count, self.tokens)
        return ResultTally(
            completed=int(self.ok is True),
            failed=int(self.ok is False),
            usage=TokenUsage(
                input_tokens=given,
                cached_tokens=cached,
                output_tokens=made,
                reasoning_tokens=reasoning,
            ),
        )


_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines
decode_input = msgspec.json.Decoder(InputLine).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_named = tolerant(msgspec.json.Decoder(_Named).decode)
decode_shard_line = msgspec.json.Decoder(ShardLine).decode
decode_part_line = msgspec.json.Decoder(PartLine).decode


def encode_shard_lines(lines: Iterable[ShardLine]) -> bytes:
    return _encode_lines(lines)


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


class _Heading(msgspec.Struct):
    """How a result line begins."""

    id: str
    custom_id: str | None


_REST = b',"response":'
"""Begins what follows the heading. Inside a heading's texts the quotes would be escaped."""


def answered(
    batch: BatchId,
    line: ShardLine,
    answer: ResponseBody,
    *,
    status: int,
    request_id: str | None,
    ok: bool,
) -> PartLine:
    """The part line of an answer; ``ok``: it is for the output file, otherwise for the error file.

    ``status`` is what the result line shows.
    """
    name = result_id(batch, line.line)
    result = _encode(
        _ResultLine(
            id=name,
            custom_id=line.custom_id,
            response=_Response(
                status_code=status, request_id=request_id or name, body=msgspec.Raw(answer.text)
            ),
            error=None,
        )
    )
    return PartLine(
        line=line.line,
        ok=ok,
        tokens=answer.tokens,
        result=stored_result(result, strict=not answer.halves),
    )


def copied(batch: BatchId, original: PartLine, line: int, custom_id: str) -> PartLine:
    """The part line of a request that is the same as another: its result, under another name."""
    rest = original.result_line.partition(_REST)[2]
    heading = _encode(_Heading(id=result_id(batch, line), custom_id=custom_id))
    given, _, made, _ = original.tokens
    return PartLine(
        line,
        original.ok,
        NO_TOKENS,
        stored_result(
            heading[:-1] + _REST + rest, strict=not bytes(original.result).startswith(b'"')
        ),
        total(given, made),
        None if original.call is None else CallRecord(original.call.ended_at),
    )


def stored_result(line: bytes, *, strict: bool | None = None) -> msgspec.Raw:
    """A finished result line as part lines store it.

    ``strict``: it has no escape of half a surrogate pair; None: not known.
    """
    if strict is None:
        strict = rb"\u" not in line or without_halves(line) == line
    return msgspec.Raw(line if strict else _encode(line.decode()))


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
    line: int,
    attempts: int,
    deaths: int = 0,
    aborts: int = 0,
    *,
    cut: bool = False,
    call: CallRecord | None = None,
) -> PartLine:
    """A note that ``line`` has no result yet after ``attempts`` calls, and that, unless another
    note or a result follows, ``deaths`` workers died while it was in flight. ``aborts`` calls were
    ended in favour of others; ``cut``: the last one by the end of its activation. ``call`` has the
    reasons; None: there are none."""
    tokens = (attempts, deaths, aborts, int(cut))
    return PartLine(line=line, ok=None, tokens=tokens, result=msgspec.Raw(b"null"), call=call)
