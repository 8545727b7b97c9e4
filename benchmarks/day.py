"""A day with one batch: which functions run at which times, and the cost of the idle time.

``make day`` plays it on the embedded platform and draws ``benchmarks/results/day.png``. The day
begins at midnight with nothing; in the morning a client submits a batch and polls it every ten
minutes until it has ended; in the afternoon it downloads the results.

The platform's rhythm passes ``SPEED_UP`` times as fast: idle windows, the timer of the janitor, its
sweeps. Starting, stopping and working are not hurried, so they look that much longer than they are.
What counts as busy without a batch is therefore told as it would be in a real day: an instant at
which no process only waits for its idle window to end counts once, any other ``SPEED_UP`` times.
Exits 1 when that is more than the timer's ticks take, or results are missing.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import uvloop
from openai import AsyncOpenAI

from batch_gateway.local.platform import LocalPlatform, ReplicaState
from benchmarks.figure import RESULTS
from benchmarks.stage import Stage, chat_lines, stage

SPEED_UP = 288
DAY_S = 24 * 3600 / SPEED_UP
HOUR_S = DAY_S / 24
LINES = 900
HANDED_IN, FETCHED = 9.0, 15.0  # o'clock
LOOKS_EVERY_S = HOUR_S / 6
SAMPLES_EVERY_S = 0.02
TIMED = "janitor"  # started every ten minutes
MOST_BUSY = 0.02  # share of the time without a batch: a tick costs seconds of ten minutes
SETTINGS = {
    "sweep": {
        "every_s": 60 / SPEED_UP,
        "budget_s": 540 / SPEED_UP,
        "absence_s": 660 / SPEED_UP,
        "unsent_s": 10 / SPEED_UP,
        "interval_s": 0.01,
    }
}

Seen = Mapping[str, Mapping[int, tuple[ReplicaState, int]]]
"""Function -> its processes, what they are at, and their requests in flight."""


@dataclass
class Watched:
    """What was seen of the processes; a new entry whenever something changed."""

    at_s: list[float] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def spans(self) -> Sequence[tuple[float, float, Seen]]:
        """(from, to, what was there)."""
        return list(zip(self.at_s, [*self.at_s[1:], DAY_S], self.seen, strict=True))

    def starts(self) -> Counter[str]:
        pids = {(name, pid) for seen in self.seen for name, of in seen.items() for pid in of}
        return Counter(name for name, _ in pids)

    def busy_s(self, begin: float = 0, end: float = DAY_S) -> float:
        """Seconds with any process from ``begin`` to ``end``, as a real day has them."""
        total = 0.0
        for start, stop, seen in self.spans():
            if seen:
                idle = any((ReplicaState.READY, 0) in of.values() for of in seen.values())
                length = max(0.0, min(stop, end) - max(start, begin))
                total += length * (SPEED_UP if idle else 1)
        return total


@dataclass(frozen=True)
class Diary:
    """What the users of the day have noticed."""

    completed: int
    ended_at_s: float  # since midnight, as it was played
    first_answer_s: float  # of the request in the afternoon, when nothing ran


async def watch(platform: LocalPlatform, midnight: float, watched: Watched) -> None:
    """Until cancelled."""
    while True:
        seen = {name: of for name in platform.services if (of := platform.states(name))}
        if not watched.seen or seen != watched.seen[-1]:
            watched.at_s.append(perf_counter() - midnight)
            watched.seen.append(seen)
        await asyncio.sleep(SAMPLES_EVERY_S)


async def users(on: Stage, midnight: float) -> Diary:
    async def until(clock: float) -> None:
        await asyncio.sleep(midnight + clock * HOUR_S - perf_counter())

    await until(HANDED_IN)
    batch = await on.submit(chat_lines(LINES, max_tokens=40))
    batch = await on.ended(batch, every_s=LOOKS_EVERY_S)
    ended_at_s = perf_counter() - midnight
    await until(FETCHED)
    async with AsyncOpenAI(base_url=on.platform.base_url, api_key="any") as newcomer:
        asked = perf_counter()
        await newcomer.batches.retrieve(batch.id)
        first_answer_s = perf_counter() - asked
    output, _ = await on.results(batch)
    await until(24)
    return Diary(len(output), ended_at_s, first_answer_s)


async def day() -> int:
    watched = Watched()
    simulator = {"ttft_ms": 200, "tpot_ms": 5, "slots": 16}
    async with stage(simulator=simulator, settings=SETTINGS, speed_up=SPEED_UP) as on:
        while any(on.platform.pids(name) for name in on.platform.services):
            await asyncio.sleep(0.05)  # the API is started once, to see whether it can be
        midnight = perf_counter()
        watching = asyncio.create_task(watch(on.platform, midnight, watched))
        diary = await users(on, midnight)
        watching.cancel()
    values = told(watched, diary)
    for name, value in values.items():
        print(f"  {name}: {value}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "day.json").write_text(json.dumps(values, indent=2) + "\n")
    print(draw(watched, RESULTS / "day.png"))
    good = diary.completed == LINES and values["busy_share_without_a_batch"] <= MOST_BUSY
    return int(not good)


def told(watched: Watched, diary: Diary) -> dict[str, float | int | dict[str, int]]:
    begun, over = HANDED_IN * HOUR_S, diary.ended_at_s + HOUR_S / 6
    visit = (FETCHED * HOUR_S, (FETCHED + 0.25) * HOUR_S)
    quiet_s = (DAY_S - (over - begun) - (visit[1] - visit[0])) * SPEED_UP
    idle_s = watched.busy_s() - watched.busy_s(begun, over) - watched.busy_s(*visit)
    return {
        "results": diary.completed,
        "hours_of_the_batch": round((diary.ended_at_s - begun) / HOUR_S, 2),
        "minutes_with_a_process_without_a_batch": round(idle_s / 60, 1),
        "busy_share_without_a_batch": round(idle_s / quiet_s, 4),
        "starts": dict(watched.starts()),
        "first_answer_from_zero_s": round(diary.first_answer_s, 2),
        "left_running_at_midnight": sum(len(of) for of in watched.seen[-1].values()),
    }


def draw(watched: Watched, path: Path) -> Path:
    import matplotlib as mpl  # an extra: only this needs it

    mpl.use("Agg")
    from matplotlib import pyplot

    names = sorted(watched.starts(), key=lambda name: min(_first(watched, name)))
    figure, (whole, morning) = pyplot.subplots(2, 1, figsize=(12, 7), layout="constrained")
    for axes, (begin, end) in ((whole, (0, 24)), (morning, (HANDED_IN - 0.5, HANDED_IN + 3))):
        for row, name in enumerate(names):
            for start, stop, seen in watched.spans():
                if processes := len(seen.get(name, ())):
                    shown = 0.25 * min(processes, 3)
                    length = stop - start
                    if name == TIMED and (ReplicaState.READY, 0) not in seen[name].values():
                        length /= SPEED_UP  # a start is not hurried: as long as in a real day
                    axes.barh(
                        row,
                        length / HOUR_S,
                        left=start / HOUR_S,
                        height=shown,
                        color=f"C{row}",
                    )
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(begin, end)
        axes.grid(axis="x", alpha=0.3)
        axes.set_xlabel("o'clock")
    whole.set_title(
        f"Processes in a day with one batch, played {SPEED_UP} times as fast (starts of functions "
        "other than the janitor are not hurried and look longer)",
        fontsize="medium",
    )
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _first(watched: Watched, name: str) -> Sequence[float]:
    return [start for start, _, seen in watched.spans() if name in seen]


if __name__ == "__main__":
    sys.exit(uvloop.run(day()))
