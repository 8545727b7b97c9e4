from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.simulator.prefix_cache import (
    BLOCK_TOKENS,
    PrefixCache,
    block_hashes,
    count_tokens,
)

BLOCK = 64  # bytes of 16 tokens


def visit(cache: PrefixCache, prompt: bytes) -> int:
    return cache.visit(block_hashes(prompt), count_tokens(prompt))


def test_prompts_share_exactly_their_common_full_blocks():
    head = b"h" * BLOCK * 2
    cache = PrefixCache(100)

    visit(cache, head + b"a" * BLOCK * 2)
    found = visit(cache, head + b"b" * BLOCK * 2)

    assert found == 2 * BLOCK_TOKENS


def test_a_block_counts_only_behind_the_same_blocks():
    cache = PrefixCache(100)

    visit(cache, b"a" * BLOCK + b"x" * BLOCK + b".")
    found = visit(cache, b"b" * BLOCK + b"x" * BLOCK + b".")

    assert found == 0


def test_the_last_token_of_a_prompt_is_always_computed():
    cache = PrefixCache(100)

    visit(cache, b"a" * BLOCK)

    assert visit(cache, b"a" * BLOCK) == 0
    assert len(block_hashes(b"a" * BLOCK + b"b")) == 1


def test_the_least_recently_used_tail_is_evicted_first():
    one, two = b"1" * BLOCK * 3 + b".", b"2" * BLOCK * 2 + b"."
    cache = PrefixCache(4)

    visit(cache, one)  # three blocks
    visit(cache, two)  # two more: the last of the first prompt goes

    assert visit(cache, one) == 2 * BLOCK_TOKENS


def test_without_capacity_nothing_is_ever_found():
    cache = PrefixCache(0)

    found = [visit(cache, b"a" * 1000) for _ in range(3)]

    assert found == [0, 0, 0]
    assert cache.queried_tokens == 750


def test_a_smaller_cache_forgets_at_once():
    cache = PrefixCache(100)
    visit(cache, b"a" * BLOCK * 10)

    cache.resize(3)

    assert len(cache) == 3


@given(st.binary(max_size=400), st.binary(max_size=200), st.binary(max_size=200))
def test_equal_hashes_mean_equal_prefixes(head: bytes, left: bytes, right: bytes):
    one, two = block_hashes(head + left), block_hashes(head + right)

    for number, (a, b) in enumerate(zip(one, two, strict=False), start=1):
        same = (head + left)[: number * BLOCK] == (head + right)[: number * BLOCK]
        assert (a == b) is same
