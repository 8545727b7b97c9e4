"""One table of all figures that a command has measured, with machine and versions.

``table.md`` is for people and ``table.json`` for programs, both in ``benchmarks/results``. They
hold what the last ``make bench`` measured; each figure's own file stays until it is measured again.
"""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import figure, surroundings
from benchmarks.figure import Figure, spelled


async def keep(figures: Sequence[Figure], before: Mapping[str, str]) -> Path:
    """Write both files; ``before``: the machine as it was when measuring began."""
    figure.RESULTS.mkdir(exist_ok=True)
    machine = {
        **before,
        "load average": f"{before['load average']} before, {os.getloadavg()[0]:.1f} after",
    }
    versions = await surroundings.versions(os.environ.get("METADATA_URL"))
    at = datetime.now(UTC)
    content = {
        "measured_at": at.isoformat(timespec="seconds"),
        "machine": machine,
        "versions": versions,
        "figures": [one.content() for one in figures],
    }
    (figure.RESULTS / "table.json").write_text(json.dumps(content, indent=2) + "\n")
    lines = [
        f"# Figures, measured on {at:%Y-%m-%d} at {at:%H:%M} UTC",
        "",
        *surroundings.table(machine),
        "",
        *surroundings.table(versions),
        "",
        *rows(figures),
    ]
    path = figure.RESULTS / "table.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(figures: Sequence[Figure]) -> list[str]:
    """Lines of a Markdown table: each value's median and range, its mark, and whether the figure
    has met its marks."""
    lines = ["| figure | value | median | range | mark | |", "|---|---|---|---|---|---|"]
    for one in figures:
        of_runs = f", {len(one.runs)} runs" if one.runs else ""
        met = "met" if one.met else "**not met**"
        lines.append(f"| {one.name} | {one.title}{of_runs} | | | | {met} |")
        lines += [
            f"| | {name} | {spelled(value)} | {one.range_of(name)} | {one.mark.get(name, '')} | |"
            for name, value in one.values.items()
        ]
    return lines
