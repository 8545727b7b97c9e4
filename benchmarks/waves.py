"""Batch work beside interactive traffic in waves, on a simulated engine near its capacity.

``python -m benchmarks.waves '{"seed": 1}'`` plays one scene in a process of its own, because what
is measured are waits of some hundredths of a second, and prints what came of it as JSON; several
scenes can be played side by side. The interactive users of a seed are always the same.

The engine has 32 slots and one queue, and does not preempt. Interactive answers take 3 s in the
mean, batch answers 6 s, both lognormal; users come in waves of 9 and of 1.5 a second. Alone, their
p99 of the time to first token is about a second, because the high waves fill the engine now and
then by themselves.
"""

import asyncio
import json
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec

from batch_gateway.simulator.config import SimulatorConfig
from batch_gateway.simulator.journal import JournalEntry
from batch_gateway.simulator.load import RequestMeasurement, TrafficPhase, drive, users
from batch_gateway.simulator.server import RunningSimulator, serving
from benchmarks.stage import CHAT
from benchmarks.workshop import Workshop, workshop

MODEL = "m"
SLOTS = 32
TPOT_MS = 100.0  # ten events a second of a streamed answer are enough to see
TTFT_MS = 50.0
SAMPLE_S = 0.5

Groups = dict[str, dict[str, Any]]


class Scene(msgspec.Struct, kw_only=True):
    seed: int = 1
    batch: bool = True  # False: the users alone
    waves: int = 4  # pairs of a low and a high one; the first pair is not measured
    wave_s: float = 60.0
    low: float = 1.5  # users per second
    high: float = 9.0
    user_s: float = 3.0  # mean length of the users' answers
    line_s: float = 6.0  # mean length of the batch's answers
    simulator: dict[str, Any] = msgspec.field(default_factory=dict)  # fields of its config
    settings: Groups = msgspec.field(default_factory=dict)  # of the gateway

    @property
    def warm_s(self) -> float:
        return 2 * self.wave_s

    @property
    def end_s(self) -> float:
        return 2 * self.wave_s * self.waves

    def plan(self) -> list[TrafficPhase]:
        pair = [
            TrafficPhase(rate=self.low, seconds=self.wave_s),
            TrafficPhase(rate=self.high, seconds=self.wave_s),
        ]
        return pair * self.waves


class Sample(msgspec.Struct, kw_only=True):
    """How things stood at one moment."""

    at_s: float
    users: int  # of the interactive traffic, in the engine
    running: int
    waiting: int
    limit: int = 0
    in_flight: int = 0
    aborted: int = 0
    brake: str | None = None


class Outcome(msgspec.Struct, kw_only=True):
    ttft_s: list[float]  # of the users who came after the first pair of waves
    users_s: float  # slot seconds that users took meanwhile
    useful_s: float = 0.0  # slot seconds of batch answers
    wasted_s: float = 0.0  # slot seconds of aborted batch calls
    capacity_s: float  # all slot seconds
    sent: int = 0  # batch calls
    refused: int = 0
    aborted: int = 0
    failed_users: int = 0
    felt: list[tuple[float, float]] = []  # second of arrival and time to the first token, of all
    answered_s: list[float] = []  # when batch answers came
    lines_answered: int = 0  # different ones
    samples: list[Sample] = []

    @property
    def progress(self) -> float:
        """Batch work done, as a share of what the users left."""
        return self.useful_s / (self.capacity_s - self.users_s)


@dataclass
class _Play:
    scene: Scene
    here: RunningSimulator
    shop: Workshop | None
    samples: list[Sample] = field(default_factory=list)

    async def watch(self, start: float) -> None:
        """Note how things stand, again and again until cancelled."""
        clock = asyncio.get_running_loop().time
        engine, journal = self.here.simulator.engines[MODEL], self.here.simulator.journal
        while True:
            sample = Sample(
                at_s=clock() - start,
                users=journal.open,
                running=engine.running,
                waiting=engine.waiting,
            )
            if self.shop is not None:
                for pool in await self.shop.runtime.coordination.slots.pools():
                    sample.limit, sample.in_flight = int(pool.limit.limit), pool.in_use
                    sample.aborted, sample.brake = pool.aborted, pool.limit.last_brake
                    sample.users = max(0, journal.open - pool.in_use)
            self.samples.append(sample)
            await asyncio.sleep(SAMPLE_S)


async def play(scene: Scene) -> Outcome:
    config = SimulatorConfig.checked(
        **{
            "models": (MODEL,),
            "slots": SLOTS,
            "tpot_ms": TPOT_MS,
            "ttft_ms": TTFT_MS,
            "prefill_us_per_token": 0.0,
            **scene.simulator,
        }
    )
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(serving(config))
        shop = None
        work = None
        if scene.batch:
            shop = await stack.enter_async_context(workshop(0, _settings(scene, here.url)))
            await shop.submit(lines(scene))
            work = asyncio.create_task(shop.work())
            stack.callback(work.cancel)
        playing = _Play(scene, here, shop)
        offset = asyncio.get_running_loop().time()
        watching = asyncio.create_task(playing.watch(offset))
        began = time.time()
        arrivals = list(users(scene.plan(), mean_tokens=tokens(scene.user_s), seed=scene.seed))
        felt = await drive(here.url, MODEL, arrivals)
        watching.cancel()
        entries = here.simulator.journal.since(0)
        if work is not None:
            work.cancel()
            await asyncio.wait([work])
    return _outcome(scene, felt, entries, began, playing.samples)


def tokens(seconds: float) -> float:
    """How long an answer is that takes so long."""
    return 1 + (seconds * 1000 - TTFT_MS) / TPOT_MS


def lines(scene: Scene) -> Iterator[dict[str, Any]]:
    """More than can be done meanwhile."""
    drawn = random.Random(scene.seed + 1000)
    mean = tokens(scene.line_s)
    count = math.ceil(1.2 * SLOTS * scene.end_s / scene.line_s)
    for n in range(count):
        made = max(1, round(drawn.lognormvariate(math.log(mean) - 0.18, 0.6)))
        yield {
            "custom_id": f"line-{n}",
            "method": "POST",
            "url": CHAT,
            "body": {
                "model": MODEL,
                "max_tokens": made,
                "ignore_eos": True,
                "messages": [{"role": "user", "content": f"Question {n}?"}],
            },
        }


def _settings(scene: Scene, url: str) -> Groups:
    groups: Groups = {
        "inference": {"url": url},
        "execution": {"soft_budget_s": scene.end_s + 60, "hard_budget_s": scene.end_s + 90},
    }
    for name, fields in scene.settings.items():
        groups[name] = {**groups.get(name, {}), **fields}
    return groups


def _outcome(
    scene: Scene,
    felt: Sequence[RequestMeasurement],
    entries: Sequence[JournalEntry],
    start: float,
    samples: list[Sample],
) -> Outcome:
    begin, end = start + scene.warm_s, start + scene.end_s
    outcome = Outcome(
        ttft_s=[
            one.first_token
            for one in felt
            if one.at >= scene.warm_s and one.first_token is not None
        ],
        failed_users=sum(1 for one in felt if one.first_token is None),
        users_s=0.0,
        capacity_s=SLOTS * (end - begin),
        samples=samples,
        felt=[(one.at, one.first_token) for one in felt if one.first_token is not None],
    )
    answered = set()
    for entry in entries:
        seconds = 0.0
        if entry.started_at is not None:
            seconds = min(end, entry.ended_at or end) - max(begin, entry.started_at)
        seconds = max(0.0, seconds)
        if entry.request_id is None:
            outcome.users_s += seconds
        elif entry.request_id.startswith("batch"):
            outcome.sent += entry.arrived_at >= begin
            outcome.refused += entry.arrived_at >= begin and entry.status in (429, 503)
            outcome.aborted += entry.arrived_at >= begin and entry.aborted
            if entry.aborted and entry.ended_at is not None and entry.ended_at < end:
                outcome.wasted_s += seconds
            else:
                outcome.useful_s += seconds
            if entry.status == 200 and entry.ended_at is not None:
                outcome.answered_s.append(entry.ended_at - start)
                answered.add(entry.digest)
    outcome.lines_answered = len(answered)
    return outcome


async def played(scene: Scene) -> Outcome:
    """``play`` in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.waves",
        json.dumps(msgspec.to_builtins(scene)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
    if process.returncode:
        raise ChildProcessError(f"a scene ended with {process.returncode}")
    return msgspec.json.decode(said, type=Outcome)


if __name__ == "__main__":
    import uvloop

    result = uvloop.run(play(msgspec.convert(json.loads(sys.argv[1]), Scene)))
    sys.stdout.buffer.write(msgspec.json.encode(result))
