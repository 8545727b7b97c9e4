"""Instances of functions: which run, and how many ran at each moment."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionInstance:
    """One process of a function."""

    id: str
    function: str
    started_at: datetime
    ended_at: datetime | None  # within its heartbeat's lifetime after a crash; None: it runs


def counts_over_time(
    instances: Iterable[FunctionInstance], since: datetime
) -> list[tuple[datetime, int]]:
    """How many of ``instances`` ran from ``since`` on: the count there, and each change of it."""
    running, changes = 0, dict[datetime, int]()
    for one in instances:
        for at, change in ((one.started_at, 1), (one.ended_at, -1)):
            if at is None:
                continue
            if at <= since:
                running += change
            else:
                changes[at] = changes.get(at, 0) + change
    found = [(since, running)]
    for at, change in sorted(changes.items()):
        running += change
        if running != found[-1][1]:
            found.append((at, running))
    return found
