"""F1: requests per CPU second of one executor process, with a model that takes no time.

Lines of 2 KB, answers of 500 bytes, 256 calls at once, everything on: slots, parts, counts,
leases in the database. A second of CPU does more on one machine than on another, and less while
other processes share its cores. So each round also runs a loop written by hand on the same lines
(``benchmarks.naive_loop``), and the ratio of both counts.
"""

import asyncio
import json
import os
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figure import Figure
from benchmarks.stage import chat_lines, encoded
from benchmarks.workshop import Work, workshop

LINES = 20_000
CALLS = 256
BODY_BYTES = 2000
ROUNDS = 3
MARK = 2500  # requests per CPU-second
MOST_CPU = 1.5  # times that of the naive loop


async def measure() -> Figure:
    done: list[Work] = []
    naive: list[float] = []
    limits = {"start": CALLS, "ceiling": CALLS}
    async with workshop(0, {"limits": limits, "execution": {"max_calls": CALLS}}) as shop:
        for _ in range(ROUNDS):
            batch = await shop.submit(chat_lines(LINES, body_bytes=BODY_BYTES))
            done.append(await shop.work())
            counts = (await shop.reload(batch)).counts
            assert counts.completed == LINES, counts
            naive.append(await naive_cpu_s(shop.endpoint))
    cpu_s = statistics.median(work.cpu_s for work in done)
    times_naive = statistics.median(
        work.cpu_s / loop for work, loop in zip(done, naive, strict=True)
    )
    return Figure(
        name="F1",
        title=f"dispatch rate of one executor, {LINES} requests of 2 KB, {CALLS} at once",
        values={
            "times_naive_cpu": times_naive,
            "requests_per_cpu_s": LINES / cpu_s,
            "cpu_s_per_1000_requests": 1000 * cpu_s / LINES,
            "naive_cpu_s_per_1000": 1000 * statistics.median(naive) / LINES,
            "requests_per_s": statistics.median(LINES / work.wall_s for work in done),
            "rounds": ", ".join(f"{LINES / work.cpu_s:.0f}" for work in done),
            "load": os.getloadavg()[0],
        },
        mark={"times_naive_cpu": f"<= {MOST_CPU}", "requests_per_cpu_s": f">= {MARK}"},
        met=times_naive <= MOST_CPU and LINES / cpu_s >= MARK,
    )


async def naive_cpu_s(url: str) -> float:
    """What the loop written by hand takes for the same lines."""
    with TemporaryDirectory(prefix="batch-gateway-f1-") as folder:
        path = Path(folder) / "input.jsonl"
        path.write_bytes(encoded(chat_lines(LINES, body_bytes=BODY_BYTES)))
        words = [sys.executable, "-m", "benchmarks.naive_loop", url, str(path), str(CALLS)]
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
    if process.returncode:
        raise ChildProcessError(f"the naive loop ended with {process.returncode}")
    return float(json.loads(said)["cpu_s"])
