"""``python -m benchmarks F1 F2``: measure figures one after the other; exit 1 if a mark is missed.

A figure is a module ``fNN_what.py`` with an ``async def measure() -> Figure``; the number in its
name is the figure's. Without names all are measured but those of scale, which take an hour
(``make scale``). ``--runs 3`` measures each three times. What came of it is kept in
``benchmarks/results``: a file for each figure, one table of all of them, and plots.
"""

import argparse
import importlib
import re
import sys
from pathlib import Path

import uvloop

from benchmarks import plots, report, surroundings
from benchmarks.figure import Figure, combined

SCALE = frozenset({"F18", "F19", "F20"})


def modules() -> dict[str, str]:
    """Figure -> module, for all that there are."""
    found = (re.fullmatch(r"f(\d+)_\w+", path.stem) for path in Path(__file__).parent.glob("f*.py"))
    return {f"F{int(match[1])}": f"benchmarks.{match[0]}" for match in found if match}


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="how often each figure is measured")
    parser.add_argument("figures", nargs="*", metavar="FIGURE")
    given = parser.parse_args(words)
    known = modules()
    wanted = given.figures or sorted(known.keys() - SCALE, key=lambda name: int(name[1:]))
    if unknown := [name for name in wanted if name not in known]:
        print(f"no such figure: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return 2
    before = surroundings.machine()
    measured: list[Figure] = []
    for name in wanted:
        measure = importlib.import_module(known[name]).measure
        one = combined([uvloop.run(measure()) for _ in range(max(1, given.runs))])
        one.show()
        print(f"kept in {one.keep()}")
        measured.append(one)
        table = uvloop.run(report.keep(measured, before))
        for path in plots.drawn([one]):
            print(f"drawn in {path}")
        print(f"table in {table}\n")
    return int(any(not one.met for one in measured))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
