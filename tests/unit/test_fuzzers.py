"""The fuzzers in short; ``make fuzz`` runs them for minutes."""

import pytest
from fuzz.mutation import Mutations
from fuzz.targets import TARGETS

INPUTS = 1500


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_what_reads_it(name):
    target = TARGETS[name]
    made = Mutations(target.seeds, number=1)

    runs = INPUTS // target.cost
    inputs = [*target.seeds[: runs * target.together], *(made.next() for _ in range(runs))]
    for start in range(0, len(inputs), target.together):
        target.run(*inputs[start : start + target.together])


def test_the_same_seed_makes_the_same_inputs():
    one, other = Mutations([b"abc"], 7), Mutations([b"abc"], 7)

    assert [one.next() for _ in range(50)] == [other.next() for _ in range(50)]
