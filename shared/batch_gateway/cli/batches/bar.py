"""A progress bar for one batch, in one line that fits the terminal's width."""

import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batch_gateway.cli.batches.exit_codes import TERMINAL

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json

_RATE_S = 60.0  # the speed is that of the last minute
_GAP = 2  # columns between two parts
_SHORTEST_BAR = 10
_REFRESH_HZ = 4


class BatchProgressBar:
    """The line. ``with bar:`` shows it, and leaves its last state on the screen."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._batch: Json | None = None
        self._seen: deque[tuple[float, int]] = deque()  # instant in seconds, requests that ended
        self._live = Live(
            console=self._console, get_renderable=self._line, refresh_per_second=_REFRESH_HZ
        )

    def __enter__(self) -> "BatchProgressBar":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, batch: "Json") -> None:
        if self._batch is None:
            self._live.console.print(batch["id"], overflow="fold")
        self._batch = batch
        now = time.monotonic()
        self._seen.append((now, _done(batch)))
        while self._seen[-1][0] - self._seen[0][0] > _RATE_S:
            self._seen.popleft()
        self._live.refresh()

    def _line(self) -> RenderableType:
        if self._batch is None:
            return Text("")
        return drawn(self._batch, self._rate(), time.time(), self._console.width)

    def _rate(self) -> float:
        """Requests that end in a second."""
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return max(0, after - before) / (last - first) if last > first else 0.0


def drawn(batch: "Json", rate: float, now: float, width: int) -> RenderableType:
    """The state of ``batch`` at ``now``, in unix seconds, in at most ``width`` columns.

    What does not fit is left out, the least important first; the bar has what is left.
    """
    total = batch["request_counts"]["total"]
    parts = fitted(_parts(batch, rate, now), width)
    room = width - sum(len(part) + _GAP for part in parts)
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    cells: list[RenderableType] = [Text(part, no_wrap=True) for part in parts]
    if room >= _SHORTEST_BAR and total:
        cells.insert(1, ProgressBar(total=total, completed=_done(batch), width=min(room, 40)))
    grid.add_row(*cells)
    return grid


def fitted(parts: Sequence[tuple[int, str]], width: int) -> list[str]:
    """The texts of ``parts`` that fit into ``width``; those with the highest rank go first."""
    kept = [part for part in parts if part[1]]
    while len(kept) > 1 and sum(len(text) + _GAP for _, text in kept) - _GAP > width:
        kept.remove(max(kept))
    return [text[:width] for _, text in kept]


def _parts(batch: "Json", rate: float, now: float) -> list[tuple[int, str]]:
    """The texts from left to right, each with its rank: 0 is the most important."""
    counts = batch["request_counts"]
    done, total = _done(batch), counts["total"]
    going = batch["status"] not in TERMINAL
    return [
        (4, batch["status"]),
        (1, f"{done}/{total}" if total else ""),
        (3, f"{done / total:.0%}" if total else ""),
        (2, f"{counts['failed']} failed" if counts["failed"] else ""),
        (5, f"{rate:.1f}/s" if going and rate else ""),
        (0, _remaining(batch, rate, now) if going else ""),
        (6, _held_up(batch) if going else ""),
    ]


def _remaining(batch: "Json", rate: float, now: float) -> str:
    """The time until the end: as the service estimates it, or else by the rate."""
    counts = batch["request_counts"]
    if (end := batch.get("estimated_completion_at")) is not None:
        seconds = max(0.0, end - now)
    elif rate and counts["total"]:
        seconds = (counts["total"] - _done(batch)) / rate
    else:
        return ""
    return f"ETA {timedelta(seconds=round(seconds))}"


def _held_up(batch: "Json") -> str:
    return "paused" if batch.get("paused") else str(batch.get("blocked_reason") or "")


def _done(batch: "Json") -> int:
    counts = batch["request_counts"]
    return int(counts["completed"] + counts["failed"])
