"""F22: memory of each function at rest and at work, and what the platform costs without work.

At rest: each function is a process of its own, as in a pod, once it is ready. ``batch-gateway up``
forks its functions from one process that has loaded all modules, so there each has more resident
memory, most of it shared (``forked``). At work: by how much the resident memory of a function of
``up`` was higher at its peak than when it was forked, in a batch as large as F21's. Without work:
no function runs, and the platform's own processes are watched for a minute.
"""

import asyncio
import socket
import sys
from collections.abc import Mapping

import httpx

from benchmarks.f14_rest import start
from benchmarks.f21_large_batch import BODY_BYTES, LINES
from benchmarks.figure import Figure, Value
from benchmarks.processes import cpu_s, memory_mib, peak_mib, proportional_mib, tree
from benchmarks.stage import chat_lines, encoded, stage
from benchmarks.whole_system import System, name_of, system
from benchmarks.workshop import workshop

#: Processes of ``up`` that are no functions.
PLATFORM = frozenset({"platform", "broker", "fork_server", "redis"})
IDLE_S = 60.0
TO_ZERO_S = 300.0
TO_READY_S = 60.0


async def measure() -> Figure:
    values: dict[str, Value] = {}
    async with stage() as on:
        names = list(on.platform.services)
        forked = {name: (await start(on.platform, name))[1] for name in names}
    async with workshop(0, {}) as shop:
        for name in names:
            values[f"{name}_rest_mib"] = await alone(name, shop.environment)
            values[f"{name}_forked_mib"] = forked[name]
    content = encoded(chat_lines(LINES, body_bytes=BODY_BYTES))
    async with system(0) as running:
        values |= await without_work(running)
        batch, _ = await running.create(await running.upload(content))
        await running.ended({batch}, every_s=0.1)
        for name, mib in peaks(running).items():
            if name in forked:
                values[f"{name}_work_more_mib"] = max(0.0, mib - forked[name])
    return Figure(
        name="F22",
        title="memory of each function, and the platform without work",
        values=values,
        mark={},
        met=True,
    )


async def alone(name: str, environment: Mapping[str, str]) -> float:
    """Resident memory of a function that no other process has forked, in MiB."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "batch_gateway.web.serve", name),
        env={**environment, "HOST": "127.0.0.1", "PORT": str(port)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient() as http, asyncio.timeout(TO_READY_S):
            while not await ready(http, port):
                await asyncio.sleep(0.1)
        return memory_mib(child.pid)
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


async def ready(http: httpx.AsyncClient, port: int) -> bool:
    try:
        return (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def without_work(on: System) -> dict[str, Value]:
    """What the platform's processes take in a minute in which no function runs."""
    async with asyncio.timeout(TO_ZERO_S):
        while True:
            await until_at_zero(on)
            before = {pid: cpu_s(pid) for pid in tree(on.pid)}
            await asyncio.sleep(IDLE_S)
            # The timer of the janitor may have ticked: then the next minute is taken.
            if set(processes(on).values()) <= PLATFORM:
                break
    names = processes(on)
    used = sum(cpu_s(pid) - before[pid] for pid in names)
    found: dict[str, Value] = {
        "idle_cpu_s_per_minute": used * 60 / IDLE_S,
        "idle_resident_mib": sum(map(memory_mib, names)),
        "idle_proportional_mib": sum(map(proportional_mib, names)),
    }
    for part in sorted(PLATFORM):
        pids = [pid for pid, name in names.items() if name == part]
        found[f"idle_{part}_mib"] = sum(map(proportional_mib, pids))
    return found


async def until_at_zero(on: System) -> None:
    while not set(processes(on).values()) <= PLATFORM:
        await asyncio.sleep(0.5)


def processes(on: System) -> Mapping[int, str]:
    """The living processes of the system, each with what it is."""
    found = {}
    for pid in tree(on.pid):
        try:
            found[pid] = name_of(pid, root=on.pid)
        except (FileNotFoundError, ProcessLookupError):  # it ended just now
            continue
    return found


def peaks(on: System) -> Mapping[str, float]:
    """The highest resident memory that a process of each kind has had since its start."""
    found: dict[str, float] = {}
    for pid, name in processes(on).items():
        found[name] = max(peak_mib(pid), found.get(name, 0.0))
    return found
