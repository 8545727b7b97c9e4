from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.planning import LineRef, ShardLimits, cut_shards

BIG = 10**9


def ref(line, *, model="m", prefix=b"", length=100, cost=10, copies=0):
    return LineRef(
        line=line,
        offset=0,
        length=length,
        model=model,
        prefix=prefix,
        cost=cost,
        custom_id_hash=b"",
        copies=copies,
    )


refs = st.lists(
    st.builds(
        ref,
        st.integers(1, 10**6),
        model=st.sampled_from("ab"),
        prefix=st.sampled_from([b"", b"aaaabbbb", b"aaaacccc", b"dddd"]),
        length=st.integers(1, 500),
        cost=st.integers(0, 500),
        copies=st.sampled_from([0, 0, 0, 1, 9]),
    )
)


@given(refs=refs, lines=st.integers(1, 20), size=st.integers(1, 2000), cost=st.integers(1, 2000))
def test_shards_are_the_references_in_order_and_keep_their_bounds(refs, lines, size, cost):
    shards = list(cut_shards(refs, ShardLimits(lines=lines, bytes=size, cost=cost)))

    assert [ref for shard in shards for ref in shard] == refs
    for shard in shards:
        assert len(shard) == 1 or sum(1 + ref.copies for ref in shard) <= lines
        assert len({ref.model for ref in shard}) == 1
        assert len(shard) == 1 or sum(ref.length for ref in shard) <= size
        assert len(shard) == 1 or sum(ref.cost for ref in shard) <= cost


def test_a_full_shard_ends_where_neighbours_have_least_in_common():
    size = ShardLimits(lines=8, bytes=BIG, cost=BIG)
    keys = [b"SSSS1111"] * 6 + [b"SSSS2222"] * 3
    lines = [ref(n, prefix=key) for n, key in enumerate(keys, 1)]

    assert [len(shard) for shard in cut_shards(lines, size)] == [6, 3]


def test_what_a_shard_leaves_for_the_next_one_keeps_its_bounds():
    size = ShardLimits(lines=100, bytes=100, cost=BIG)
    lines = [
        *(ref(n, prefix=b"aaaa", length=1) for n in range(1, 7)),
        ref(7, prefix=b"bbbb", length=60),
        ref(8, prefix=b"bbbb", length=34),
        ref(9, prefix=b"bbbb", length=60),
    ]

    assert [len(shard) for shard in cut_shards(lines, size)] == [6, 2, 1]
