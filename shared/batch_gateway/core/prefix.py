"""Prefix order: a sort key that puts requests with a common prompt prefix side by side.

Engines keep the KV cache in blocks, each of use only together with all blocks before it. The key of
a request is the sequence of its blocks' hashes, taken over its rendered prompt
(``core.prompt_rendering``). Lexicographic order of such keys is the depth-first order of the prefix
tree, so shared prefixes of every depth become neighbours, and a cache of any size receives each
branch once.

Engines' blocks have 16 tokens, about 64 bytes. Ours begin with that size and double after every 16
blocks: a key of at most 388 bytes covers 63 KiB, and the point where two prompts differ is exact
to about a tenth of its distance. The last hash stands for the whole rest, so equal prompts are
neighbours too.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, islice, repeat
from struct import Struct

from xxhash import xxh32_intdigest

from batch_gateway.core.prompt_rendering import Prompt, render_prompt

FIRST_BLOCK = 64  # bytes, about 16 tokens
RUN = 16  # blocks of one size
SIZES = 6  # from the first, each double the one before
HASH_WIDTH = 4  # bytes of each hash that are kept: collisions only matter among siblings
LONGEST_KEY = (RUN * SIZES + 1) * HASH_WIDTH  # bytes


def _sizes() -> Iterator[int]:
    return (FIRST_BLOCK << n for n in range(SIZES) for _ in repeat(None, RUN))


_ENDS = [*accumulate(_sizes())]  # of blocks, in bytes from the start of the prompt
#: Takes the blocks out of a prompt that has so many whole ones.
_BLOCKS = [
    Struct("".join(f"{size}s" for size in islice(_sizes(), n))).unpack_from
    for n in range(RUN * SIZES + 1)
]
_PACKED = [Struct(f">{n}I").pack for n in range(RUN * SIZES + 2)]  # of HASH_WIDTH bytes each
DEPTH = _ENDS[-1]  # bytes of a prompt that are compared block by block

#: Endpoints whose requests generate nothing and fill no KV cache worth keeping: input order stays.
UNORDERED = frozenset({"/v1/embeddings", "/v1/moderations", "/v1/score", "/v1/rerank"})


def sort_key(url: str, prompt: Prompt) -> bytes:
    """Hashes of the prompt's blocks, at most ``LONGEST_KEY`` bytes; empty without order."""
    if url in UNORDERED:
        return b""
    return block_hashes(render_prompt(prompt))


def block_hashes(prompt: bytes) -> bytes:
    """One hash per whole block, and one for the rest."""
    whole = bisect_right(_ENDS, len(prompt))
    hashes = [*map(xxh32_intdigest, _BLOCKS[whole](prompt))]
    end = _ENDS[whole - 1] if whole else 0
    if end < len(prompt):
        hashes.append(xxh32_intdigest(prompt[end:]))
    return _PACKED[len(hashes)](*hashes)


def shared(one: bytes, other: bytes) -> int:
    """How many blocks two keys have in common from the start."""
    length = min(len(one), len(other))
    differing = int.from_bytes(one[:length]) ^ int.from_bytes(other[:length])
    return (8 * length - differing.bit_length()) // (8 * HASH_WIDTH)
