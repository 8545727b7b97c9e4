"""Draws figures that a table does not show well: F2, F13 and F15.

Needs matplotlib (extra ``bench``); where it is missing, nothing is drawn. ``python -m
benchmarks.plots`` draws those anew that ``benchmarks/results`` has.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import figure
from benchmarks.figure import Figure, Value

Runs = Sequence[Mapping[str, Value]]

#: F13's settings, as they are shown.
_SETTINGS = {
    "metrics": "C0",
    "router": "C1",
    "plain": "C2",
    "metrics_without_aborts": "C0",
    "plain_without_aborts": "C2",
    "router_429_alone": "C1",
    "plain_latency_alone": "C4",
    "fixed_24": "C3",
}


def drawn(figures: Sequence[Figure]) -> list[Path]:
    """The pictures of ``figures``, in ``benchmarks/results``."""
    if find_spec("matplotlib") is None:
        return []
    return [_draw(one) for one in figures if one.name in _DRAWINGS]


def _draw(one: Figure) -> Path:
    import matplotlib as mpl  # an extra: only pictures need it

    mpl.use("Agg")
    from matplotlib import pyplot

    canvas, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    _DRAWINGS[one.name](axes, one.runs or [one.values])
    axes.set_title(f"{one.name} {one.title}", fontsize="medium", wrap=True)
    axes.grid(alpha=0.3)
    figure.RESULTS.mkdir(exist_ok=True)
    path = figure.RESULTS / f"{one.name}.png"
    canvas.savefig(path, dpi=90)
    pyplot.close(canvas)
    return path


def _makespan(axes: Any, runs: Runs) -> None:
    """Efficiency of each case: all rounds of all runs as dots, their median as a bar."""
    from benchmarks.f02_makespan import CASES

    for place, case in enumerate(CASES):
        rounds = [float(one) for run in runs for one in str(run[f"{case.name}_rounds"]).split(", ")]
        axes.bar(place, sorted(rounds)[len(rounds) // 2], width=0.5, color="C0", alpha=0.5)
        axes.plot([place] * len(rounds), rounds, "o", color="C0")
        axes.hlines(case.mark, place - 0.35, place + 0.35, colors="C3", label="mark")
    names = [f"{case.requests:,} of {case.latency_s:g} s\n{case.slots} at a time" for case in CASES]
    axes.set(xticks=range(len(CASES)), xticklabels=names, ylabel="ideal time / time", ylim=(0.5, 1))


def _interactive(axes: Any, runs: Runs) -> None:
    """What batch work costs users against how far it gets, for each setting."""
    for name, color in _SETTINGS.items():
        braked = name in ("metrics", "router", "plain")
        axes.plot(
            [run[f"{name}_ratio"] for run in runs],
            [run[f"{name}_progress"] for run in runs],
            "o" if braked else "x",
            color=color,
            label=name.replace("_", " "),
        )
    axes.axvspan(0.9, 1.10, color="C2", alpha=0.15)
    axes.axhline(0.8, color="grey", linewidth=0.8)
    axes.set(
        xscale="log",
        xlabel="users' p99 to the first token, with batch work / without (logarithmic)",
        ylabel="batch work done / what users left",
        ylim=(0, 1.05),
    )
    axes.legend(loc="lower right", fontsize="small")


def _scale_out(axes: Any, runs: Runs) -> None:
    """Efficiency and processor time by number of executors."""
    executors = sorted(
        int(name.rpartition("_")[2]) for name in runs[0] if name.startswith("efficiency_")
    )
    for run in runs:
        axes.plot(executors, [run[f"efficiency_{n}"] for n in executors], "o-", color="C0")
    axes.axhline(0.9, color="C3", linewidth=0.8)
    axes.set(xlabel="executors", ylabel="ideal time / time", xticks=executors, ylim=(0, 1.05))
    cost = axes.twinx()
    for process, color in (("executor", "C1"), ("redis", "C2"), ("endpoint", "C4")):
        name = f"{process}_cpu_per_1000"
        for run in runs:
            shown = [run.get(f"{name}_{n}") for n in executors]
            cost.plot(executors, shown, "s--", color=color, label=process)
    cost.set(ylabel="CPU seconds per 1,000 requests", ylim=(0, None))
    cost.legend(loc="lower left", fontsize="small")


_DRAWINGS: Mapping[str, Callable[[Any, Runs], None]] = {
    "F2": _makespan,
    "F13": _interactive,
    "F15": _scale_out,
}


def kept(name: str) -> Figure | None:
    """A figure as it was measured last."""
    path = figure.RESULTS / f"{name}.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    return Figure(
        name=name,
        title="",
        values=content["values"],
        mark=content["mark"],
        met=content["met"],
        runs=content.get("runs", ()),
    )


if __name__ == "__main__":
    found = [one for name in _DRAWINGS if (one := kept(name)) is not None]
    sys.stdout.write("".join(f"{path}\n" for path in drawn(found)))
