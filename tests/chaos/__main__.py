"""``python -m chaos --seed 7 --rounds 10``: rounds of faults; exits 1 at the first that fails."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from chaos.disk import private_disk
from chaos.round import play
from chaos.schedule import STORES, schedule

_DISK_MIB = 192


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--rounds", type=int, default=1, help="how many, each with the next seed")
    parser.add_argument("--faults", type=int, default=6, help="strikes of a round")
    parser.add_argument("--stores", choices=STORES, help="instead of those that the seed draws")
    parser.add_argument(
        "--go-on", action="store_true", help="play all rounds, also after a failure"
    )
    given = parser.parse_args()
    failed: list[int] = []
    with tempfile.TemporaryDirectory(
        prefix="batch-gateway-chaos-", ignore_cleanup_errors=True
    ) as name:
        base = Path(name)
        disk = base / "disk"
        disk.mkdir()
        own_disk = private_disk(disk, _DISK_MIB)
        print("disk: " + ("of its own, may be full" if own_disk else "cannot be filled here"))
        for seed in range(given.seed, given.seed + given.rounds):
            plan = schedule(seed, stores=given.stores, faults=given.faults)
            print(plan, flush=True)
            folder = base / f"round-{seed}"
            folder.mkdir()
            (folder / "data").symlink_to(disk, target_is_directory=True)
            problems = asyncio.run(play(plan, folder, own_disk=own_disk, say=_say))
            for problem in problems:
                print(f"  WRONG: {problem}", flush=True)
            print(f"seed {seed}: {'FAILED' if problems else 'all is well'}", flush=True)
            if problems:
                failed.append(seed)
                kept = _kept(seed, disk, folder)
                print(
                    f"kept {kept}; again: make chaos SEED={seed} ROUNDS=1 FAULTS={given.faults}"
                    + (f" STORES={given.stores}" if given.stores else ""),
                    flush=True,
                )
                if not given.go_on:
                    break
            _emptied(disk)
    return int(bool(failed))


def _say(line: str) -> None:
    print(line, flush=True)


def _kept(seed: int, disk: Path, folder: Path) -> Path:
    """A copy of the data that a failed round has left: its disk goes away with this process."""
    kept = Path(tempfile.gettempdir()) / f"chaos-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(disk, kept, ignore_dangling_symlinks=True, ignore=_sockets)
    return kept


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_socket()]


def _emptied(disk: Path) -> None:
    for entry in disk.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


if __name__ == "__main__":
    sys.exit(main())
