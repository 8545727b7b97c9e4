"""Renders a report as text of 80 columns; long values are complete in JSON and HTML."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from batch_gateway.cli.batches.printing import instant
from batch_gateway.cli.tables import columns

if TYPE_CHECKING:
    from batch_gateway.cli.report.content import Report

WIDTH = 80
_LEVELS = " ▁▂▃▄▅▆▇█"


def lines(report: "Report") -> Iterator[str]:
    yield report.batch["id"]
    yield report.heading
    for section in report.sections():
        yield ""
        yield section.title
        for line in columns([section.columns, *section.rows]):
            yield cut(f"  {line}", WIDTH)
    points = list(report.timeline())
    if len(points) > 1:
        yield ""
        yield "Finished requests over time"
        yield f"  {drawn([point['completed'] + point['failed'] for point in points], WIDTH - 4)}"
        first, last = points[0]["start_time"], points[-1]["start_time"]
        yield f"  {instant(first)} to {instant(last)}"


def cut(line: str, width: int) -> str:
    """``line``, or its beginning with an ellipsis where it is longer than ``width``."""
    return line if len(line) <= width else f"{line[: width - 1]}…"


def drawn(counts: list[int], width: int) -> str:
    """A bar for each count, or for the sum of several neighbours where there are too many."""
    step = -(-len(counts) // width)
    sums = [sum(counts[at : at + step]) for at in range(0, len(counts), step)]
    most = max(sums) or 1
    return "".join(_LEVELS[-(-count * (len(_LEVELS) - 1) // most)] for count in sums)
