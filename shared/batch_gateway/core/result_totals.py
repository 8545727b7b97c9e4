"""Running totals of result lines: counts, tokens and the statistics of their calls.

Every line is added, so the sums are plain numbers; the immutable ``ResultTally`` is made on
request.
"""

from typing import Self

from batch_gateway.core.call_statistics import CallStatistics
from batch_gateway.core.engine_values import MOST, count, total
from batch_gateway.core.lines import PartLine
from batch_gateway.core.model import ResultTally, TokenUsage


class ResultTotals:
    def __init__(self) -> None:
        self.statistics = CallStatistics()
        self._completed = self._failed = 0
        self._given = self._cached = self._made = self._reasoning = 0

    @classmethod
    def of(cls, tally: ResultTally) -> Self:
        """Totals that continue from ``tally``; its statistics are left out."""
        found, usage = cls(), tally.usage
        found._completed, found._failed = tally.completed, tally.failed
        found._given, found._cached = usage.input_tokens, usage.cached_tokens
        found._made, found._reasoning = usage.output_tokens, usage.reasoning_tokens
        return found

    def add(self, line: PartLine) -> None:
        """Add one result line; not a note."""
        if line.ok:
            self._completed += 1
        else:
            self._failed += 1
        tokens = line.tokens
        if min(tokens) < 0 or max(tokens) > MOST:
            tokens = (count(tokens[0]), count(tokens[1]), count(tokens[2]), count(tokens[3]))
        given, cached, made, reasoning = tokens
        self._given += given
        self._cached += cached
        self._made += made
        self._reasoning += reasoning
        self.statistics.add(line)

    @property
    def lines(self) -> int:
        return self._completed + self._failed

    @property
    def tally(self) -> ResultTally:
        """The sums, without statistics."""
        return ResultTally(
            completed=self._completed,
            failed=self._failed,
            usage=TokenUsage(
                input_tokens=total(self._given),
                cached_tokens=total(self._cached),
                output_tokens=total(self._made),
                reasoning_tokens=total(self._reasoning),
            ),
        )

    @property
    def whole_tally(self) -> ResultTally:
        """The sums, with the statistics of the calls."""
        sums = self.tally
        return ResultTally(
            completed=sums.completed,
            failed=sums.failed,
            usage=sums.usage,
            statistics=self.statistics.encoded(),
        )
