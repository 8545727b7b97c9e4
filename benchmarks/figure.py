"""A figure: what was measured, the mark, and whether it was reached; printed and kept as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"

Value = float | int | str | bool | None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """``values`` and ``mark`` go by names with their unit, such as ``p99_ms``; a mark is written
    as it is read, such as ``<= 30``."""

    name: str  # F1
    title: str
    values: Mapping[str, Value]
    mark: Mapping[str, str]
    met: bool

    def show(self) -> None:
        table = Table(title=f"{self.name} {self.title}", title_justify="left")
        table.add_column("value")
        table.add_column("measured", justify="right")
        table.add_column("mark")
        for name, value in self.values.items():
            table.add_row(name, _spelled(value), self.mark.get(name, ""))
        console = Console()
        console.print(table)
        console.print(f"{self.name}: {'met' if self.met else 'NOT MET'}")

    def keep(self) -> Path:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        content = {
            "figure": self.name,
            "values": dict(self.values),
            "mark": dict(self.mark),
            "met": self.met,
        }
        path.write_text(json.dumps(content, indent=2) + "\n")
        return path


def _spelled(value: Value) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
