import msgspec
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.prefix import BLOCK, BLOCKS, HASH_WIDTH, Prompt, block_hashes, sort_key

CHAT = "/v1/chat/completions"


def prompt(**body):
    return msgspec.json.decode(msgspec.json.encode(body), type=Prompt)


def chat(system, *turns):
    roles = [{"role": "system", "content": system}]
    return prompt(messages=roles + [{"role": "user", "content": turn} for turn in turns])


def shared(one, other):
    """Blocks that two keys have in common from the start."""
    common = 0
    for start in range(0, min(len(one), len(other)), HASH_WIDTH):
        if one[start : start + HASH_WIDTH] != other[start : start + HASH_WIDTH]:
            break
        common += 1
    return common


@given(st.binary(max_size=10 * BLOCK), st.binary(max_size=10 * BLOCK))
def test_keys_share_exactly_the_whole_blocks_that_the_prompts_share(one, other):
    same = 0
    while one[: (same + 1) * BLOCK] == other[: (same + 1) * BLOCK] and (same + 1) * BLOCK <= min(
        len(one), len(other)
    ):
        same += 1

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


def test_tools_and_instructions_count_as_prefix():
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 500}}
    with_tools = prompt(messages=[], tools=[tool])
    with_instructions = prompt(input="q", instructions="i" * 500)

    assert sort_key(CHAT, with_tools)
    assert sort_key("/v1/responses", with_instructions)


def test_embeddings_keep_their_input_order():
    assert sort_key("/v1/embeddings", prompt(input="e" * 1000)) == b""


def test_keys_are_bounded():
    assert len(sort_key(CHAT, chat("s" * 10**6))) <= BLOCKS * HASH_WIDTH
