"""F2: the share of slot time that is used, from the creation of a batch to its completion.

N requests of L seconds in C slots cannot take less than N * L / C. The functions are up and the
limit is learned when it is measured: a batch before it has seen to that.
"""

import statistics
import time
from dataclasses import dataclass

from benchmarks.figure import Figure
from benchmarks.stage import Stage, chat_lines, stage

ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    requests: int
    latency_s: float
    slots: int
    mark: float

    @property
    def name(self) -> str:
        return f"n{self.requests}_l{self.latency_s:g}s_c{self.slots}"

    @property
    def ideal_s(self) -> float:
        return self.requests * self.latency_s / self.slots


CASES = (
    Case(requests=10_000, latency_s=0.5, slots=100, mark=0.97),
    Case(requests=1_024, latency_s=2, slots=64, mark=0.95),
)


async def efficiencies(case: Case, rounds: int) -> list[float]:
    simulator = {"ttft_ms": 1000 * case.latency_s, "slots": case.slots}
    async with stage(simulator=simulator, settings={"limits": {"ceiling": case.slots}}) as on:
        await makespan(on, 10 * case.slots)
        return [case.ideal_s / await makespan(on, case.requests) for _ in range(rounds)]


async def makespan(on: Stage, requests: int) -> float:
    """Seconds from the request that creates a batch until it is seen to be completed."""
    file = await on.upload(chat_lines(requests, body_bytes=2000))
    began = time.perf_counter()
    batch = await on.ended(await on.create(file), every_s=0.02)
    took = time.perf_counter() - began
    assert batch.status == "completed", batch
    return took


async def measure() -> Figure:
    values: dict[str, float | str] = {}
    mark: dict[str, str] = {}
    met = True
    for case in CASES:
        found = await efficiencies(case, ROUNDS)
        values[case.name] = statistics.median(found)
        values[f"{case.name}_rounds"] = ", ".join(f"{one:.3f}" for one in found)
        mark[case.name] = f">= {case.mark}"
        met = met and statistics.median(found) >= case.mark
    return Figure(
        name="F2",
        title="makespan efficiency, N * L / C over the time from created to completed, warm",
        values=values,
        mark=mark,
        met=met,
    )
