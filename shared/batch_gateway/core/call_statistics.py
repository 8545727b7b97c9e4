"""Counters and histograms of the calls behind a set of result lines. They merge by addition.

Everything is bounded, whatever the number of lines: latencies are histograms with fixed buckets,
the time line has at most ``MOST_POINTS`` intervals of equal width, reasons and error classes have
at most ``MOST_NAMES`` names. Merging is exact: the sum of two sets is the same as if all lines had
been added to one.

Buckets are logarithmic, eight per doubling: bucket ``i`` holds durations in milliseconds above
``2 ** ((i - 1) / 8)`` and up to ``2 ** (i / 8)``, bucket 0 everything up to 1 ms. A percentile is
the upper bound of its bucket, so it is at most 9 % too high.
"""

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Self

import msgspec

from batch_gateway.core.engine_values import count, total
from batch_gateway.core.error_classes import ErrorClass, error_of
from batch_gateway.core.lines import PartLine, decode_part_line

PER_DOUBLING = 8
LAST_BUCKET = 22 * PER_DOUBLING  # 2 ** 22 ms, about 70 minutes; longer durations count there
MOST_POINTS = 240
MINUTE = 60
MOST_NAMES = 32
OTHER = "other"
"""Counts the reasons and error classes that are too many to have names of their own."""

Histogram = dict[int, int]
"""Bucket -> number of durations."""


class TimelineInterval(msgspec.Struct, array_like=True):
    """What was finished within one interval of the time line."""

    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, other: "TimelineInterval") -> None:
        self.completed += other.completed
        self.failed += other.failed
        self.input_tokens = total(self.input_tokens, other.input_tokens)
        self.output_tokens = total(self.output_tokens, other.output_tokens)


class CallStatistics(msgspec.Struct, omit_defaults=True):
    calls: Histogram = {}  # durations of the calls that gave the results
    calls_ms: int = 0  # their sum
    first_tokens: Histogram = {}  # times to the first token, of calls whose engine reports it
    first_tokens_ms: int = 0
    retries: dict[str, int] = {}  # failed attempts that were followed by another one, by reason
    aborts: dict[str, int] = {}  # calls that the gateway ended, by reason
    errors: dict[str, ErrorClass] = {}  # of lines in the error file
    width: int = MINUTE  # seconds of an interval: a minute times a power of two
    timeline: dict[
        int, TimelineInterval
    ] = {}  # start of the interval in Unix seconds -> what was finished

    def add(self, line: PartLine) -> None:
        """Count one result line; a note counts for nothing."""
        if line.ok is None:
            return
        if not line.ok:
            self._add_error(line)
        call = line.call
        if call is None:
            return
        given, _, made, _ = line.tokens
        start = call.ended_at - call.ended_at % self.width
        point = self.timeline.get(start)
        if point is None:
            point = self.timeline[start] = TimelineInterval()
        if line.ok:
            point.completed += 1
        else:
            point.failed += 1
        point.input_tokens = total(point.input_tokens, count(given))
        point.output_tokens = total(point.output_tokens, count(made))
        if len(self.timeline) > MOST_POINTS:
            self._coarsen(2 * self.width)
        if call.took_ms >= 0:
            self.calls_ms += call.took_ms
            at = bucket(call.took_ms)
            self.calls[at] = self.calls.get(at, 0) + 1
        if call.first_token_ms >= 0:
            self.first_tokens_ms += call.first_token_ms
            at = bucket(call.first_token_ms)
            self.first_tokens[at] = self.first_tokens.get(at, 0) + 1
        if call.retries:
            _add_named(self.retries, call.retries)
        if call.aborts:
            _add_named(self.aborts, call.aborts)

    def merge(self, other: "CallStatistics") -> None:
        """Add all that ``other`` has counted."""
        _add(self.calls, other.calls)
        _add(self.first_tokens, other.first_tokens)
        self.calls_ms += other.calls_ms
        self.first_tokens_ms += other.first_tokens_ms
        _add_named(self.retries, other.retries)
        _add_named(self.aborts, other.aborts)
        for name, found in other.errors.items():
            self._error(name, found).count += found.count
        if other.width > self.width:
            self._coarsen(other.width)
        for start, point in other.timeline.items():
            self.timeline.setdefault(start - start % self.width, TimelineInterval()).add(point)
        while len(self.timeline) > MOST_POINTS:
            self._coarsen(2 * self.width)

    def encoded(self) -> str:
        """As JSON, for a database; "" when nothing was counted."""
        text = _encode(self).decode()
        return "" if text == "{}" else text

    @classmethod
    def decoded(cls, text: str) -> Self:
        """What ``encoded`` returned; empty for "" and for text that cannot be decoded."""
        try:
            return msgspec.json.decode(text, type=cls) if text else cls()
        except msgspec.MsgspecError:
            return cls()

    @classmethod
    def of_lines(cls, lines: Iterable[bytes]) -> Self:
        """Those of encoded part lines."""
        found = cls()
        for line in lines:
            found.add(decode_part_line(line))
        return found

    def _add_error(self, line: PartLine) -> None:
        name, custom_id, message = error_of(line.result_line)
        example = ErrorClass(line=line.line, custom_id=custom_id, message=message)
        self._error(name, example).count += 1

    def _error(self, name: str, example: ErrorClass) -> ErrorClass:
        """The class called ``name``, or the one for all the others; made with that example."""
        if name not in self.errors and len(self.errors) >= MOST_NAMES:
            name = OTHER
        found = self.errors.get(name)
        if found is None:
            found = self.errors[name] = ErrorClass(
                line=example.line, custom_id=example.custom_id, message=example.message
            )
        return found

    def _coarsen(self, width: int) -> None:
        points, self.timeline, self.width = self.timeline, {}, width
        for start, point in points.items():
            self.timeline.setdefault(start - start % width, TimelineInterval()).add(point)


_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=4096)  # most calls of a batch take about as long
def bucket(ms: float) -> int:
    """The bucket of a duration."""
    if ms <= 1:
        return 0
    return min(LAST_BUCKET, math.ceil(PER_DOUBLING * math.log2(ms) - 1e-9))


def upper_bound(bucket: int) -> float:
    """The longest duration of a bucket, in milliseconds."""
    return float(2 ** (bucket / PER_DOUBLING))


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """The upper bound of the bucket in which ``share`` (0 to 1) of the durations is reached.

    None when there are none.
    """
    left = share * sum(histogram.values())
    for at in sorted(histogram):
        left -= histogram[at]
        if left <= 0:
            return upper_bound(at)
    return None


def _add(to: dict[int, int], more: Mapping[int, int]) -> None:
    for at, number in more.items():
        to[at] = to.get(at, 0) + number


def _add_named(to: dict[str, int], more: Mapping[str, int]) -> None:
    for name, number in more.items():
        known = name if name in to or len(to) < MOST_NAMES else OTHER
        to[known] = to.get(known, 0) + number
