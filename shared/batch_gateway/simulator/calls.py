"""Parses request bodies of the OpenAI endpoints into work for an engine.

Only what the simulator acts upon is decoded; other fields may be there and are ignored, as
engines do. The prompt is rendered the way chat templates do it (first message, tools, the other
messages), because its bytes decide what the prefix cache can share.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

AtLeastOne = Annotated[int, Meta(ge=1)]
Choices = Annotated[int, Meta(ge=1, le=128)]


class RequestRejected(Exception):
    """The request is answered with OpenAI's error envelope."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class EngineCall(NamedTuple):
    """The work of one request for an engine."""

    model: str
    prompts: Sequence[bytes]  # rendered; of one request they run as one
    most_tokens: int | None = None  # limit of each answer's length; None: none
    exact: bool = False  # generate up to the limit (vLLM's ignore_eos)
    choices: int = 1  # answers per prompt
    priority: int = 0  # vLLM's: smaller is served first
    stream: bool = False
    stream_usage: bool = False  # the stream ends with a chunk that has the usage
    dimensions: int | None = None  # of embeddings; None: the model's own
    base64: bool = False  # embeddings as base64 of little-endian floats
    best: int = 0  # most documents that a reranking answers; 0: all of them


class _Body(msgspec.Struct):
    model: str
    priority: int = 0
    ignore_eos: bool = False
    stream: bool | None = False


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Message(msgspec.Struct):
    role: str
    content: str | list[msgspec.Raw] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"")

    def render(self) -> bytes:
        content = self.content
        text = b"".join(content) if isinstance(content, list) else (content or "").encode()
        return b"<|%b|>%b%b" % (self.role.encode(), text, self.tool_calls)


class _Chat(_Body, kw_only=True):
    messages: Annotated[list[_Message], Meta(min_length=1)]
    tools: msgspec.Raw = msgspec.Raw(b"")
    max_tokens: AtLeastOne | None = None
    max_completion_tokens: AtLeastOne | None = None
    n: Choices | None = 1
    stream_options: _StreamOptions | None = None


class _Completion(_Body, kw_only=True):
    prompt: Any = None  # see _texts: msgspec cannot distinguish arrays of different items
    prompt_embeds: str | list[str] | None = None  # vLLM's: tensors in base64 instead of a prompt
    max_tokens: AtLeastOne | None = 16
    n: Choices | None = 1


class _Embedding(_Body, kw_only=True):
    input: Any = None
    messages: Annotated[list[_Message], Meta(min_length=1)] | None = None  # vLLM's: a chat instead
    dimensions: Annotated[int, Meta(ge=1, le=8192)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


class _Response(_Body, kw_only=True):
    input: str | Annotated[list[msgspec.Raw], Meta(min_length=1)]
    instructions: str | None = None
    tools: msgspec.Raw = msgspec.Raw(b"")
    max_output_tokens: AtLeastOne | None = None


class _Moderation(msgspec.Struct, kw_only=True):
    input: Any
    model: str | None = None


class _Score(msgspec.Struct, kw_only=True):
    """vLLM's body; its older names of both sides are ``text_1`` and ``text_2``."""

    queries: str | Annotated[list[str], Meta(min_length=1)] = msgspec.field(name="text_1")
    documents: str | Annotated[list[str], Meta(min_length=1)] = msgspec.field(name="text_2")
    model: str | None = None


class _Rerank(msgspec.Struct, kw_only=True):
    query: str
    documents: Annotated[list[str], Meta(min_length=1)]
    model: str | None = None
    top_n: int = 0  # 0: all of them


Wire = TypeVar("Wire", bound=msgspec.Struct)


def _reader(kind: type[Wire]) -> Callable[[bytes], Wire]:
    """Decoder of one body type that refuses as OpenAI does."""
    decode = msgspec.json.Decoder(kind).decode

    def read(body: bytes) -> Wire:
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$.")
            raise RequestRejected(400, message, param=path.rstrip("`") or None) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestRejected(
                400, f"We could not parse the JSON body of your request: {error}"
            ) from (error)

    return read


_read_chat = _reader(_Chat)
_read_completion = _reader(_Completion)
_read_embedding = _reader(_Embedding)
_read_response = _reader(_Response)
_read_moderation = _reader(_Moderation)
_read_score = _reader(_Score)
_read_rerank = _reader(_Rerank)


def chat(body: bytes) -> EngineCall:
    wire = _read_chat(body)
    if wire.stream and (wire.n or 1) > 1:
        raise RequestRejected(400, "The simulator streams one choice only.", param="n")
    first, *others = wire.messages
    prompt = b"".join((first.render(), wire.tools, *(other.render() for other in others)))
    return EngineCall(
        model=wire.model,
        prompts=(prompt,),
        most_tokens=wire.max_completion_tokens or wire.max_tokens,
        exact=wire.ignore_eos,
        choices=wire.n or 1,
        priority=wire.priority,
        stream=bool(wire.stream),
        stream_usage=bool(wire.stream_options and wire.stream_options.include_usage),
    )


def completion(body: bytes) -> EngineCall:
    wire = _read_completion(body)
    _no_stream(wire)
    return EngineCall(
        model=wire.model,
        prompts=_texts(wire.prompt_embeds or wire.prompt, "prompt"),
        most_tokens=wire.max_tokens,
        exact=wire.ignore_eos,
        choices=wire.n or 1,
        priority=wire.priority,
    )


def embedding(body: bytes) -> EngineCall:
    wire = _read_embedding(body)
    return EngineCall(
        model=wire.model,
        prompts=[b"".join(message.render() for message in wire.messages)]
        if wire.messages
        else _texts(wire.input, "input"),
        priority=wire.priority,
        dimensions=wire.dimensions,
        base64=wire.encoding_format == "base64",
    )


def response(body: bytes) -> EngineCall:
    wire = _read_response(body)
    _no_stream(wire)
    given = wire.input.encode() if isinstance(wire.input, str) else b"".join(wire.input)
    return EngineCall(
        model=wire.model,
        prompts=(b"".join(((wire.instructions or "").encode(), wire.tools, given)),),
        most_tokens=wire.max_output_tokens,
        exact=wire.ignore_eos,
        priority=wire.priority,
    )


def moderation(body: bytes, *, default_model: str) -> EngineCall:
    wire = _read_moderation(body)
    return EngineCall(model=wire.model or default_model, prompts=_texts(wire.input, "input"))


def score(body: bytes, *, default_model: str) -> EngineCall:
    """One query against each document, or queries and documents pair by pair, as vLLM does it."""
    wire = _read_score(body)
    queries = [wire.queries] if isinstance(wire.queries, str) else wire.queries
    documents = [wire.documents] if isinstance(wire.documents, str) else wire.documents
    if len(queries) == 1:
        queries = queries * len(documents)
    if len(queries) != len(documents):
        raise RequestRejected(400, "Input lengths must be either 1:1, 1:N or N:N")
    pairs = zip(queries, documents, strict=True)
    return EngineCall(
        model=wire.model or default_model,
        prompts=[f"{one}\n{other}".encode() for one, other in pairs],
    )


def rerank(body: bytes, *, default_model: str) -> EngineCall:
    wire = _read_rerank(body)
    return EngineCall(
        model=wire.model or default_model,
        prompts=[f"{wire.query}\n{document}".encode() for document in wire.documents],
        best=max(0, wire.top_n),
    )


def _no_stream(wire: _Body) -> None:
    if wire.stream:
        raise RequestRejected(400, "The simulator streams chat completions only.", param="stream")


def _texts(value: Any, param: str) -> list[bytes]:
    """A text, texts, token ids or lists of token ids, as bytes; a token id is four bytes."""
    if isinstance(value, str):
        return [value.encode()]
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            return [item.encode() for item in value]
        if _are_tokens(value):
            return [_token_bytes(value)]
        if all(_are_tokens(item) for item in value):
            return [_token_bytes(item) for item in value]
    raise RequestRejected(
        400, "Expected a string, an array of strings, or an array of token ids.", param=param
    )


def _are_tokens(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(type(item) is int and 0 <= item < 2**32 for item in value)
    )


def _token_bytes(tokens: list[int]) -> bytes:
    return array("I", tokens).tobytes()
