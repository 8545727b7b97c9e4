"""A figure: the measurement, the target, and whether it was met; printed and stored as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"

Value = float | int | str | bool | None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """``values`` and ``mark`` go by names with their unit, such as ``p99_ms``; a mark is written
    as it is read, such as ``<= 30``. ``runs``: the values of each run, where there were several;
    ``values`` are their medians then."""

    name: str  # F1
    title: str
    values: Mapping[str, Value]
    mark: Mapping[str, str]
    met: bool
    runs: Sequence[Mapping[str, Value]] = ()

    def show(self) -> None:
        table = Table(title=f"{self.name} {self.title}", title_justify="left")
        table.add_column("value")
        table.add_column("measured", justify="right")
        if self.runs:
            table.add_column(f"{len(self.runs)} runs", justify="right")
        table.add_column("mark")
        for name, value in self.values.items():
            ranges = [self.range_of(name)] if self.runs else []
            table.add_row(name, spelled(value), *ranges, self.mark.get(name, ""))
        console = Console()
        console.print(table)
        console.print(f"{self.name}: {'met' if self.met else 'NOT MET'}")

    def range_of(self, name: str) -> str:
        """The lowest and the highest value of all runs; empty where that is no number."""
        found = [run[name] for run in self.runs if _is_number(run.get(name))]
        if not found:
            return ""
        return f"{spelled(min(found))} to {spelled(max(found))}"  # type: ignore[type-var]

    def content(self) -> dict[str, object]:
        """What is kept."""
        runs = {"runs": [dict(run) for run in self.runs]} if self.runs else {}
        return {
            "figure": self.name,
            "values": dict(self.values),
            "mark": dict(self.mark),
            "met": self.met,
            **runs,
        }

    def keep(self) -> Path:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        path.write_text(json.dumps(self.content(), indent=2) + "\n")
        return path


def combined(runs: Sequence[Figure]) -> Figure:
    """One figure of several runs: medians; met where more than half of the runs have met it."""
    last = runs[-1]
    if len(runs) == 1:
        return last
    values: dict[str, Value] = {}
    for name, value in last.values.items():
        of_runs = [run.values.get(name) for run in runs]
        numbers = [one for one in of_runs if isinstance(one, int | float)]
        whole = len(numbers) == len(runs) and _is_number(value)
        values[name] = median(numbers) if whole else value
    return Figure(
        name=last.name,
        title=last.title,
        values=values,
        mark=last.mark,
        met=2 * sum(run.met for run in runs) > len(runs),
        runs=[run.values for run in runs],
    )


def spelled(value: Value) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
