"""F14: what runs at rest, and how fast the service starts at the first request.

Each function is started by the embedded platform, alone, and looked at once it is ready. Then one
batch runs, and with the manifests' own windows it is watched how its functions leave, and what is
there in the minute afterwards. The janitor's timer, which starts it every ten minutes for some
seconds, may tick within that minute; so it is counted apart there. ``make day`` plays a whole day.
"""

import asyncio
from statistics import median
from time import perf_counter

from batch_gateway.local.platform import LocalPlatform
from benchmarks.figure import Figure, Value
from benchmarks.processes import memory_mib, proportional_mib
from benchmarks.stage import chat_lines, stage

STARTS = 3  # of each function; the median counts
REST_S = 65.0  # more than one of the timer's minutes
EVERY_S = 0.25
TIMER = "janitor"


async def measure() -> Figure:
    async with stage() as on:
        platform = on.platform
        values: dict[str, Value] = {}
        ready_ms, resident, proportional = [], [], []
        for name in platform.services:
            starts = [await start(platform, name) for _ in range(STARTS)]
            ms, rss, pss = (median(column) for column in zip(*starts, strict=True))
            print(f"  {name}: ready after {ms:.0f} ms, {rss:.0f} MiB resident, {pss:.0f} its share")
            ready_ms.append(ms)
            resident.append(rss)
            proportional.append(pss)
        await on.ended(await on.submit(chat_lines(200)))
        to_zero_s, at_rest, timer_share = await watch(platform)
    values = {
        "slowest_ready_ms": max(ready_ms),
        "largest_share_mib": max(proportional),
        "largest_resident_mib": max(resident),
        "to_zero_s": to_zero_s,
        "functions_at_rest": at_rest,
        "timer_share_of_time": timer_share,
    }
    return Figure(
        name="F14",
        title="at rest: start, memory, the way to zero",
        values=values,
        mark={
            "slowest_ready_ms": "<= 900",
            "largest_share_mib": "<= 75",
            "to_zero_s": "<= 120",
            "functions_at_rest": "0",
        },
        met=(
            max(ready_ms) <= 900 and max(proportional) <= 75 and to_zero_s <= 120 and at_rest == 0
        ),
    )


async def start(platform: LocalPlatform, name: str) -> tuple[float, float, float]:
    """Milliseconds from spawning to ready, resident MiB, and proportional ones."""
    await leave(platform, name)
    began = perf_counter()
    await platform.warm(name)
    ms = (perf_counter() - began) * 1000
    (pid,) = platform.pids(name)
    found = ms, memory_mib(pid), proportional_mib(pid)
    await leave(platform, name)
    return found


async def leave(platform: LocalPlatform, name: str) -> None:
    """Wait until a Service has no process, having asked those that it has to end."""
    asked: set[int] = set()
    while pids := platform.pids(name):
        for _ in set(pids) - asked:
            platform.terminate(name)
        asked |= set(pids)
        await asyncio.sleep(0.05)


async def watch(platform: LocalPlatform) -> tuple[float, int, float]:
    """(seconds to zero, most functions at once afterwards, share of time with the janitor).

    Prints the running processes whenever they change.
    """
    began = perf_counter()
    zero_at: float | None = None
    before: dict[str, int] = {}
    most, samples, with_timer = 0, 0, 0
    while zero_at is None or perf_counter() - began - zero_at < REST_S:
        now = {name: n for name in platform.services if (n := len(platform.pids(name)))}
        if now != before:
            print(f"  {perf_counter() - began:6.1f} s  {now or 'nothing'}", flush=True)
        before = now
        if zero_at is None:
            zero_at = perf_counter() - began if not now else None
        else:
            most = max(most, sum(n for name, n in now.items() if name != TIMER))
            samples += 1
            with_timer += TIMER in now
        await asyncio.sleep(EVERY_S)
    return zero_at, most, with_timer / samples
