import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.prefix import (
    DEPTH,
    FIRST_BLOCK,
    HASH_WIDTH,
    LONGEST_KEY,
    RUN,
    block_hashes,
    shared,
    sort_key,
)
from batch_gateway.core.prompt_rendering import read_prompt

CHAT = "/v1/chat/completions"


def prompt(**body):
    return read_prompt(msgspec.json.encode(body))


def chat(system, *turns):
    roles = [{"role": "system", "content": system}]
    return prompt(messages=roles + [{"role": "user", "content": turn} for turn in turns])


@given(st.binary(max_size=RUN * FIRST_BLOCK), st.binary(max_size=RUN * FIRST_BLOCK))
def test_keys_share_exactly_the_whole_blocks_that_the_prompts_share(one, other):
    same = 0
    while one[: (same + 1) * FIRST_BLOCK] == other[: (same + 1) * FIRST_BLOCK] and (
        (same + 1) * FIRST_BLOCK <= min(len(one), len(other))
    ):
        same += 1
    same += one == other and len(one) % FIRST_BLOCK > 0

    assert shared(block_hashes(one), block_hashes(other)) == same


def test_sorting_brings_equal_prefixes_of_every_depth_together():
    systems = ["s" * 1000, "t" * 1000]
    shots = ["x" * 1000, "y" * 1000]
    keys = [
        (sort_key(CHAT, chat(system, shot, f"question {n}")), system[0], shot[0])
        for n in range(5)
        for system in systems
        for shot in shots
    ]

    order = [(system, shot) for _, system, shot in sorted(keys)]

    groups = [pair for n, pair in enumerate(order) if n == 0 or pair != order[n - 1]]
    assert len(groups) == 4
    assert groups[0][0] == groups[1][0]


@pytest.mark.parametrize("depth", [100, 1000, 5000, 20_000, 60_000])
def test_where_prompts_part_is_known_to_an_eighth_of_the_depth(depth):
    common = b"c" * depth
    sure = common[: depth - depth // 8 - FIRST_BLOCK]
    one, other = block_hashes(common + b"x" * 9000), block_hashes(common + b"y" * 9000)

    blocks_of_sure = max(0, len(block_hashes(sure)) // HASH_WIDTH - 1)

    assert shared(one, other) >= blocks_of_sure


def test_equal_prompts_become_neighbours_even_beyond_the_last_block():
    long = "l" * (2 * DEPTH)
    keys = [sort_key(CHAT, chat(long + tail)) for tail in ("a", "b", "a", "b")]

    assert keys[0] == keys[2] != keys[1] == keys[3]
    assert shared(keys[0], keys[1]) == LONGEST_KEY // HASH_WIDTH - 1


def test_tools_and_instructions_count_as_prefix():
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 500}}
    with_tools = prompt(messages=[{"role": "user", "content": "q"}], tools=[tool])
    with_instructions = prompt(input="q", instructions="i" * 500)

    assert len(sort_key(CHAT, with_tools)) > 7 * HASH_WIDTH
    assert len(sort_key("/v1/responses", with_instructions)) > 7 * HASH_WIDTH


def test_embeddings_keep_their_input_order():
    assert sort_key("/v1/embeddings", prompt(input="e" * 1000)) == b""


def test_keys_are_bounded():
    assert len(sort_key(CHAT, chat("s" * 10**6))) == LONGEST_KEY
