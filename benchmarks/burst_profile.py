"""Where the time of F17's burst goes: ``python -m benchmarks.burst_profile [--rounds 5]``.

Prints, for warm bursts of 50 batches of 20 lines: processor time by process, and per batch the SQL
statements, write transactions, calls of fsync (SQLite's own are not seen), trips to Redis, HTTP
requests answered, and files that are left, each by process. Counting costs a few percent; the
processor time of F17 itself is measured without it. Beside it: how long the same client needs for
50 creates against a server that answers a constant.

The counters are put into the functions by a ``sitecustomize`` module on ``PYTHONPATH``, which
Python imports when it starts; SIGUSR2 makes a process write them to a file.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from statistics import median

import httpx
import uvloop

from benchmarks.process_counters import FOLDER
from benchmarks.processes import tree
from benchmarks.stage import chat_lines, encoded, percentile, process
from benchmarks.whole_system import System, name_of, system, watched

BATCHES, LINES, LATENCY_MS = 50, 20, 50
_HOOK = "from benchmarks.process_counters import install\ninstall()\n"
_ONLY_PLATFORM = ("redis", "fork_server")  # no Python of ours runs there while it serves


async def profile(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-counts-") as folder:
        hook = Path(folder) / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(_HOOK)
        os.environ[FOLDER] = folder
        os.environ["PYTHONPATH"] = os.pathsep.join([str(hook), *filter(None, sys.path)])
        async with system(LATENCY_MS) as on:
            await _burst(on)
            bursts = [await _counted_burst(on, Path(folder)) for _ in range(rounds)]
    _show("processor time, s", [usage for usage, _, _ in bursts], 1)
    for name in sorted({name for _, counts, _ in bursts for name in counts}):
        _show(f"{name}, per batch", [counts.get(name, {}) for _, counts, _ in bursts], BATCHES)
    print(f"create p95, ms: {[round(p95) for _, _, p95 in bursts]}")
    print(f"create p95 of a server that answers a constant, ms: {await _constant(rounds)}")


async def _burst(on: System) -> float:
    """p95 of the creates in ms."""
    content = encoded(chat_lines(LINES))
    files = [await on.upload(content) for _ in range(BATCHES)]
    await asyncio.sleep(0.5)  # what uploading leaves to be done is not counted
    created = await asyncio.gather(*map(on.create, files))
    await on.ended({name for name, _ in created})
    return percentile([ms for _, ms in created], 0.95)


async def _counted_burst(
    on: System, folder: Path
) -> tuple[Mapping[str, float], Mapping[str, Mapping[str, float]], float]:
    content = encoded(chat_lines(LINES))
    files = [await on.upload(content) for _ in range(BATCHES)]
    await asyncio.sleep(0.5)
    names = {pid: name_of(pid, root=on.pid) for pid in tree(on.pid)}
    counting = [pid for pid, name in names.items() if name not in _ONLY_PLATFORM]
    await _read(folder, counting)  # forgotten: what came before
    async with watched(on, every_s=60) as usage:
        created = await asyncio.gather(*map(on.create, files))
        await on.ended({name for name, _ in created})
    read = await _read(folder, counting)
    counts: dict[str, Counter[str]] = {}
    for pid, found in read.items():
        counts.setdefault(names[pid], Counter()).update(found)
    return usage.cpu_s, counts, percentile([ms for _, ms in created], 0.95)


async def _read(folder: Path, pids: Iterable[int]) -> Mapping[int, Mapping[str, int]]:
    """What each process has counted since the last time."""
    found = {}
    for pid in pids:
        path = folder / f"{pid}.json"
        path.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR2)
        async with asyncio.timeout(10):
            while not path.exists():
                await asyncio.sleep(0.01)
        found[pid] = json.loads(path.read_text())
    return found


def _show(title: str, rounds: list[Mapping[str, float]], divisor: int) -> None:
    names = sorted({name for one in rounds for name in one})
    medians = {name: median(one.get(name, 0) for one in rounds) / divisor for name in names}
    print(f"{title}: {', '.join(f'{name} {value:.2f}' for name, value in medians.items())}")


async def _constant(rounds: int) -> list[int]:
    words = [sys.executable, "-m", "benchmarks.constant_server"]
    async with process(words) as (_, url):
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        async with httpx.AsyncClient(base_url=url.strip(), limits=limits) as http:
            on = System(http=http, pid=0)
            await _at_once(on.create)
            return [round(await _at_once(on.create)) for _ in range(rounds)]


async def _at_once(create: Callable[[str], Awaitable[tuple[str, float]]]) -> float:
    created = await asyncio.gather(*(create(f"file-{n:024x}") for n in range(BATCHES)))
    await asyncio.sleep(0.2)
    return percentile([ms for _, ms in created], 0.95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    began = time.perf_counter()
    uvloop.run(profile(parser.parse_args().rounds))
    print(f"{time.perf_counter() - began:.0f} s, load {os.getloadavg()[0]:.1f}")
