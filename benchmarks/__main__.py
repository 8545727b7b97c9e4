"""``python -m benchmarks F1 F2``: measure figures one after the other; exit 1 if a mark is missed.

A figure is a module ``fNN_what.py`` with an ``async def measure() -> Figure``; the number in its
name is the figure's.
"""

import importlib
import re
import sys
from pathlib import Path

import uvloop

from benchmarks.figure import Figure


def modules() -> dict[str, str]:
    """Figure -> module, for all that there are."""
    found = (re.fullmatch(r"f(\d+)_\w+", path.stem) for path in Path(__file__).parent.glob("f*.py"))
    return {f"F{int(match[1])}": f"benchmarks.{match[0]}" for match in found if match}


def main(names: list[str]) -> int:
    known = modules()
    wanted = names or sorted(known, key=lambda name: int(name[1:]))
    if unknown := [name for name in wanted if name not in known]:
        print(f"no such figure: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return 2
    missed = False
    for name in wanted:
        figure: Figure = uvloop.run(importlib.import_module(known[name]).measure())
        figure.show()
        print(f"kept in {figure.keep()}\n")
        missed |= not figure.met
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
