"""Sums of result lines are those of the lines' own tallies, whatever engines report."""

from dataclasses import replace
from functools import reduce
from operator import add

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.call_statistics import CallStatistics
from batch_gateway.core.lines import PartLine
from batch_gateway.core.model import ResultTally, TokenUsage
from batch_gateway.core.result_totals import ResultTotals

counts = st.one_of(st.integers(-3, 1000), st.integers(2**62, 2**64))
lines = st.builds(
    PartLine,
    line=st.integers(1, 100),
    ok=st.booleans(),
    tokens=st.tuples(counts, counts, counts, counts),
    result=st.just(msgspec.Raw(b'{"error":null}')),
)
tallies = st.builds(
    ResultTally,
    completed=st.integers(0, 9),
    failed=st.integers(0, 9),
    usage=st.builds(TokenUsage, input_tokens=st.integers(0, 2**63 - 1)),
)


@given(start=tallies, added=st.lists(lines, max_size=9))
def test_totals_are_the_sum_of_the_lines_tallies(start, added):
    totals = ResultTotals.of(start)
    for line in added:
        totals.add(line)

    statistics = CallStatistics()
    for line in added:
        statistics.add(line)
    expected = reduce(add, (line.tally for line in added), start)
    assert totals.tally == replace(expected, statistics="")
    assert totals.whole_tally == replace(expected, statistics=statistics.encoded())
    assert totals.lines == expected.completed + expected.failed
