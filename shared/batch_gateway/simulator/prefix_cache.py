"""The prefix cache of an engine: the leading blocks of a prompt that need no prefill.

As in vLLM, a prompt is cut into blocks of 16 tokens, and a block's hash covers all blocks before
it, so equal hashes mean equal prefixes. The least recently used blocks go first, and of one
prompt its last blocks, because a shared head is worth more than a tail.

A token is four bytes of the rendered prompt: cheap, deterministic, and about right for English.
"""

from collections import OrderedDict
from collections.abc import Sequence

import xxhash

BYTES_PER_TOKEN = 4
BLOCK_TOKENS = 16
_BLOCK_BYTES = BYTES_PER_TOKEN * BLOCK_TOKENS


def count_tokens(prompt: bytes) -> int:
    return max(1, -(-len(prompt) // BYTES_PER_TOKEN))


def block_hashes(prompt: bytes) -> list[int]:
    """Chained hashes of the full blocks of ``prompt``.

    The last token never counts: an engine has to compute it to have something to continue from.
    """
    chain: list[int] = []
    above = 0
    digest = xxhash.xxh3_64_intdigest
    for end in range(_BLOCK_BYTES, (count_tokens(prompt) - 1) * BYTES_PER_TOKEN + 1, _BLOCK_BYTES):
        above = digest(prompt[end - _BLOCK_BYTES : end], above)
        chain.append(above)
    return chain


class PrefixCache:
    """Block hashes by last use."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity  # blocks
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self.queried_tokens = 0
        self.hit_tokens = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def visit(self, chain: Sequence[int], prompt_tokens: int) -> int:
        """Look a prompt up and keep it; returns how many of its tokens were there already."""
        self.queried_tokens += prompt_tokens
        blocks = self._blocks
        found = 0
        for block in chain:
            if block not in blocks:
                break
            found += 1
        if self._capacity:
            self._keep(chain)
        self.hit_tokens += found * BLOCK_TOKENS
        return found * BLOCK_TOKENS

    def resize(self, capacity: int) -> None:
        self._capacity = capacity
        self._evict()

    def _keep(self, chain: Sequence[int]) -> None:
        blocks = self._blocks
        for block in reversed(chain):  # the head becomes the most recently used
            blocks[block] = None
            blocks.move_to_end(block)
        self._evict()

    def _evict(self) -> None:
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
