"""Responses of the OpenAI endpoints, as functions of the request body alone.

The text is cut from a fixed corpus at a place that the body's hash chooses and starts with that
hash, so equal bodies have equal answers, different ones differ, and making one costs almost
nothing. Only ``cached_tokens`` depends on what the engine saw before.
"""

import hashlib
import math
import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from struct import pack
from typing import Any

import msgspec

from batch_gateway.simulator.calls import EngineCall, RequestRejected
from batch_gateway.simulator.config import SimulatorConfig
from batch_gateway.simulator.prefix_cache import BYTES_PER_TOKEN, count_tokens

encode = msgspec.json.Encoder().encode

CREATED = 1_700_000_000
"""The ``created`` of every answer: a real one would make equal requests differ."""

DIMENSIONS = 64
"""Length of an embedding whose request names none."""

CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening"),
    *("illicit", "illicit/violent", "self-harm", "self-harm/instructions", "self-harm/intent"),
    *("sexual", "sexual/minors", "violence", "violence/graphic"),
)

_WORDS = """the of and to in is that for it as was with be by on not he his but at are this have
from or had an they which one you were all her she there would their we him been has when who will
no more if out so up said what its about than into them can only other time new some"""
_CORPUS = " ".join(random.Random(0).choices(_WORDS.split(), k=16_384))


class PlannedReply:
    """What the model says to one call: decided when the call arrives, before any engine runs."""

    __slots__ = ("call", "digest", "finish_reason", "output_tokens", "prompt_tokens")

    def __init__(
        self, call: EngineCall, digest: str, config: SimulatorConfig, *, generates: bool
    ) -> None:
        self.call = call
        self.digest = digest  # sha256 of the body, hexadecimal
        self.prompt_tokens = sum(map(count_tokens, call.prompts))
        self.output_tokens = 0  # of each choice
        self.finish_reason = "stop"
        if generates:
            mean, most = config.output_tokens, call.most_tokens
            self.output_tokens = mean // 2 + 1 + int(digest[:8], 16) % mean
            if most is not None and (call.exact or most < self.output_tokens):
                self.output_tokens = most
                self.finish_reason = "length"

    @property
    def all_output_tokens(self) -> int:
        return self.output_tokens * self.call.choices * len(self.call.prompts)

    def text(self, choice: int = 0) -> str:
        """The text of one choice: four characters a token."""
        length = self.output_tokens * BYTES_PER_TOKEN
        name = self.digest[:16] if not choice else f"{self.digest[:14]}{choice:02x}"
        start = int(self.digest[8:16], 16) % len(_CORPUS)
        text = f"{name} {_CORPUS[start : start + length]}"
        while len(text) < length:
            text += _CORPUS
        return text[:length]

    def usage(self, cached_tokens: int) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.all_output_tokens,
            "total_tokens": self.prompt_tokens + self.all_output_tokens,
            "prompt_tokens_details": {"cached_tokens": cached_tokens},
        }


Answer = Callable[[PlannedReply, int], bytes]
"""The body of the answer; the number is the prompt tokens that the cache had."""


def chat(said: PlannedReply, cached_tokens: int) -> bytes:
    return encode(
        {
            "id": f"chatcmpl-{said.digest[:24]}",
            "object": "chat.completion",
            "created": CREATED,
            "model": said.call.model,
            "choices": [
                {
                    "index": index,
                    "message": {"role": "assistant", "content": said.text(index), "refusal": None},
                    "logprobs": None,
                    "finish_reason": said.finish_reason,
                }
                for index in range(said.call.choices)
            ],
            "usage": said.usage(cached_tokens),
            "system_fingerprint": "simulator",
        }
    )


def chat_chunks(said: PlannedReply) -> Iterator[bytes]:
    """Server-sent events of a streamed chat completion, one for each output token."""
    text = said.text()
    for start in range(0, len(text), BYTES_PER_TOKEN):
        delta: dict[str, str] = {"content": text[start : start + BYTES_PER_TOKEN]}
        if start == 0:
            delta["role"] = "assistant"
        yield _chunk(said, [{"index": 0, "delta": delta, "finish_reason": None}], None)


def chat_stream_end(said: PlannedReply, cached_tokens: int) -> bytes:
    """The events that follow the last token."""
    end = _chunk(said, [{"index": 0, "delta": {}, "finish_reason": said.finish_reason}], None)
    if said.call.stream_usage:
        end += _chunk(said, [], said.usage(cached_tokens))
    return end + b"data: [DONE]\n\n"


def _chunk(
    said: PlannedReply, choices: list[dict[str, Any]], usage: dict[str, Any] | None
) -> bytes:
    return b"data: %b\n\n" % encode(
        {
            "id": f"chatcmpl-{said.digest[:24]}",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": said.call.model,
            "choices": choices,
            "usage": usage,
        }
    )


def completion(said: PlannedReply, cached_tokens: int) -> bytes:
    return encode(
        {
            "id": f"cmpl-{said.digest[:24]}",
            "object": "text_completion",
            "created": CREATED,
            "model": said.call.model,
            "choices": [
                {
                    "index": index,
                    "text": said.text(index),
                    "logprobs": None,
                    "finish_reason": said.finish_reason,
                }
                for index in range(said.call.choices * len(said.call.prompts))
            ],
            "usage": said.usage(cached_tokens),
        }
    )


def embedding(said: PlannedReply, cached_tokens: int) -> bytes:
    call = said.call
    return encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _embed(prompt, call)}
                for index, prompt in enumerate(call.prompts)
            ],
            "model": call.model,
            "usage": said.usage(cached_tokens),
        }
    )


def _embed(prompt: bytes, call: EngineCall) -> list[float] | str:
    """A vector of length 1 that only the prompt decides."""
    size = call.dimensions or DIMENSIONS
    numbers = [byte - 127.5 for byte in hashlib.shake_128(prompt).digest(size)]
    length = math.sqrt(math.fsum(number * number for number in numbers))
    vector = [round(number / length, 8) for number in numbers]
    return b64encode(pack(f"<{size}f", *vector)).decode() if call.base64 else vector


def response(said: PlannedReply, cached_tokens: int) -> bytes:
    complete = said.finish_reason == "stop"
    return encode(
        {
            "id": f"resp_{said.digest[:24]}",
            "object": "response",
            "created_at": CREATED,
            "status": "completed" if complete else "incomplete",
            "error": None,
            "incomplete_details": None if complete else {"reason": "max_output_tokens"},
            "instructions": None,
            "metadata": {},
            "model": said.call.model,
            "output": [
                {
                    "id": f"msg_{said.digest[:24]}",
                    "type": "message",
                    "role": "assistant",
                    "status": "completed" if complete else "incomplete",
                    "content": [{"type": "output_text", "text": said.text(), "annotations": []}],
                }
            ],
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": {
                "input_tokens": said.prompt_tokens,
                "input_tokens_details": {"cached_tokens": cached_tokens},
                "output_tokens": said.all_output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": said.prompt_tokens + said.all_output_tokens,
            },
        }
    )


def moderation(said: PlannedReply, cached_tokens: int) -> bytes:  # noqa: ARG001 - moderations name no usage
    return encode(
        {
            "id": f"modr-{said.digest[:24]}",
            "model": said.call.model,
            "results": [_moderate(prompt) for prompt in said.call.prompts],
        }
    )


def score(said: PlannedReply, cached_tokens: int) -> bytes:  # noqa: ARG001 - scores use no cache
    return encode(
        {
            "id": f"score-{said.digest[:24]}",
            "object": "list",
            "created": CREATED,
            "model": said.call.model,
            "data": [
                {"index": index, "object": "score", "score": _relevance(prompt)}
                for index, prompt in enumerate(said.call.prompts)
            ],
            "usage": {"prompt_tokens": said.prompt_tokens, "total_tokens": said.prompt_tokens},
        }
    )


def reranking(said: PlannedReply, cached_tokens: int) -> bytes:  # noqa: ARG001 - scores use no cache
    """The documents by relevance, the most relevant first."""
    results: list[dict[str, Any]] = [
        {
            "index": index,
            "document": {"text": prompt.partition(b"\n")[2].decode()},
            "relevance_score": _relevance(prompt),
        }
        for index, prompt in enumerate(said.call.prompts)
    ]
    results.sort(key=lambda result: result["relevance_score"], reverse=True)
    return encode(
        {
            "id": f"rerank-{said.digest[:24]}",
            "model": said.call.model,
            "usage": {"total_tokens": said.prompt_tokens},
            "results": results[: said.call.best or None],
        }
    )


def _relevance(prompt: bytes) -> float:
    """A number from 0 to 1 that depends on the pair of query and document alone."""
    return round(int.from_bytes(hashlib.sha256(prompt).digest()[:4]) / 0xFFFF_FFFF, 6)


def _moderate(prompt: bytes) -> dict[str, Any]:
    """A text is flagged for exactly the categories that it names."""
    text = prompt.decode(errors="replace").lower()
    flags = {category: category in text for category in CATEGORIES}
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": {name: 0.99 if flag else 0.001 for name, flag in flags.items()},
        "category_applied_input_types": {name: ["text"] if flags[name] else [] for name in flags},
    }


def refusal(refused: RequestRejected) -> bytes:
    """OpenAI's error envelope."""
    kind = {404: "invalid_request_error", 400: "invalid_request_error", 429: "rate_limit_error"}
    return encode(
        {
            "error": {
                "message": refused.message,
                "type": kind.get(refused.status, "server_error"),
                "param": refused.param,
                "code": refused.code,
            }
        }
    )
