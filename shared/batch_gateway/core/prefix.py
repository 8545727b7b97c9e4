"""Prefix order: a sort key that puts requests with a common prompt prefix side by side.

Engines keep the KV cache in blocks, each known by a hash chained over all blocks before it. The
key of a request is that same sequence of chained hashes, taken over the bytes of its prompt
(tools, system and developer messages, few-shot turns, instructions, prompt text). Lexicographic
order of such keys is the depth-first order of the prefix tree, so shared prefixes of every depth
become neighbours, and a cache of any size sees each branch once.

The JSON bytes are hashed, not decoded text: the same prompt escaped differently only costs a
neighbour, never a result.
"""

import msgspec
import xxhash

BLOCK = 128  # bytes, about 32 tokens
BLOCKS = 64  # at most: what differs later than 8 KiB is as good as equal
HASH_WIDTH = 4  # bytes of each hash that are kept: collisions only matter among siblings

_NOTHING = msgspec.Raw(b"")


class Prompt(msgspec.Struct):
    """The parts of a request body that planning looks at, all unparsed; empty when missing."""

    model: msgspec.Raw = _NOTHING
    stream: msgspec.Raw = _NOTHING
    messages: msgspec.Raw = _NOTHING
    tools: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING
    instructions: msgspec.Raw = _NOTHING
    input: msgspec.Raw = _NOTHING
    max_tokens: msgspec.Raw = _NOTHING
    max_completion_tokens: msgspec.Raw = _NOTHING
    max_output_tokens: msgspec.Raw = _NOTHING


#: Endpoints whose requests fill no KV cache worth keeping: input order stays.
UNORDERED = frozenset({"/v1/embeddings", "/v1/moderations"})


def sort_key(url: str, prompt: Prompt) -> bytes:
    """Chained hashes of the whole blocks of the prompt's prefix; at most 256 bytes."""
    if url in UNORDERED:
        return b""
    rendered = b"".join(
        bytes(memoryview(raw)[: BLOCK * BLOCKS])
        for raw in (prompt.tools, prompt.instructions, prompt.messages, prompt.prompt, prompt.input)
    )
    return block_hashes(rendered[: BLOCK * BLOCKS])


def block_hashes(rendered: bytes) -> bytes:
    """One 4-byte hash per whole block, each over its block and all before it."""
    chained = xxhash.xxh3_64()
    hashes = bytearray()
    for start in range(0, len(rendered) - BLOCK + 1, BLOCK):
        chained.update(rendered[start : start + BLOCK])
        hashes += chained.digest()[:HASH_WIDTH]
    return bytes(hashes)
