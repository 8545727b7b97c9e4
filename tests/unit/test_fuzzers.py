"""The fuzzers in short; ``make fuzz`` runs them for minutes."""

import pytest
from fuzz.mutation import Mutations
from fuzz.targets import TARGETS

INPUTS = 1500


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_what_reads_it(name):
    made = Mutations(TARGETS[name].seeds, number=1)

    seeds = list(TARGETS[name].seeds)[: INPUTS // TARGETS[name].cost]
    for data in [*seeds, *(made.next() for _ in range(INPUTS // TARGETS[name].cost))]:
        TARGETS[name].run(data)


def test_the_same_seed_makes_the_same_inputs():
    one, other = Mutations([b"abc"], 7), Mutations([b"abc"], 7)

    assert [one.next() for _ in range(50)] == [other.next() for _ in range(50)]
