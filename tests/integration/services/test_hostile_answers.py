"""With any answer of an engine, over real TCP, every line of every other shard ends properly."""

import random

import pytest
from fixtures.hostile_metrics import draw_metrics
from fixtures.hostile_play import MOST_HOSTILE, play
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from batch_gateway.simulator.hostile import draw_hostile

pytestmark = pytest.mark.redis

hostile = st.randoms(use_true_random=False).map(draw_hostile)
metrics = st.randoms(use_true_random=False).map(draw_metrics)


@settings(
    max_examples=6,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    hostile=st.lists(st.lists(hostile, min_size=1, max_size=4), min_size=1, max_size=MOST_HOSTILE),
    metrics=st.lists(metrics, max_size=4),
)
async def test_whatever_an_engine_says_every_line_ends_once(make_world, hostile, metrics):
    await play(make_world, hostile, metrics)


@pytest.mark.parametrize("seed", range(2))
async def test_many_hostile_lines_of_one_seed_end_too(make_world, seed):
    drawn = random.Random(seed)
    lines = [[draw_hostile(drawn) for _ in range(4)] for _ in range(6)]

    await play(make_world, lines, [draw_metrics(drawn) for _ in range(4)])
