"""Fuzz each target for some minutes: ``python -m fuzz [--minutes 10] [--seed 1] [TARGET ...]``.

Ends with 1 at the first finding, after writing the input (some targets take several at a time) to
build/fuzz/TARGET-NUMBER; the same seed finds it again.
"""

import argparse
import logging
import sys
import time
import traceback
from pathlib import Path

from fuzz.mutation import Mutations
from fuzz.targets import TARGETS


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("targets", nargs="*", help=", ".join(TARGETS))
    words.add_argument("--minutes", type=float, default=10, help="for each target")
    words.add_argument("--seed", type=int, default=None, help="default: another one each time")
    given = words.parse_args()
    if unknown := set(given.targets) - TARGETS.keys():
        words.error(f"no such target: {', '.join(unknown)}")
    logging.disable()  # each refusal is a line
    seed = int(time.time()) if given.seed is None else given.seed
    return max([fuzz(name, given.minutes * 60, seed) for name in given.targets or TARGETS])


def fuzz(name: str, seconds: float, seed: int) -> int:
    """The exit code: 1 after a finding."""
    target, made = TARGETS[name], Mutations(TARGETS[name].seeds, seed)
    tried, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        inputs = [made.next() for _ in range(target.together)]
        tried += len(inputs)
        try:
            target.run(*inputs)
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            traceback.print_exc()
            folder = Path("build/fuzz")
            folder.mkdir(parents=True, exist_ok=True)
            for number, data in enumerate(inputs):
                (folder / f"{name}-{tried - len(inputs) + number + 1}").write_bytes(data)
            print(f"{name}: a finding after {tried} inputs (seed {seed}): {folder}/{name}-*")
            return 1
    print(f"{name}: {tried} inputs in {seconds:.0f} s without a finding (seed {seed})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
