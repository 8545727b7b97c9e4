"""F8: SIGKILL of each function at half of 2,000 requests, an emptied Redis, a broker that loses.

What counts is what the user gets (each line once), how many requests were sent twice, the longest
time without a request at the model after the blow, and how much later than ideal the batch is
completed: the requests without an answer at the blow, at full speed from then on. A request may be
sent again if it was in flight, or finished since the last flush.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise

from openai.types import Batch
from redis.asyncio import Redis

from batch_gateway.local.platform import BrokerFaults
from benchmarks.figure import Figure
from benchmarks.stage import Stage, chat_lines, stage

LINES, SLOTS, CALL_S = 2_000, 32, 0.2
STALL_S, LATE_S = 3.0, 4.0  # at most, when the executor is killed
FLUSHED = 256  # results that a crash may cost at most, by default
SPEED_UP = 10  # of the janitor's timer alone matters here: every 6 s
SERVICES = ("executor", "planner", "assembler", "api", "janitor")

Blow = Callable[[Stage], Awaitable[None]]


async def measure() -> Figure:
    values: dict[str, float] = {}
    lost = doubled = 0
    for name, blow in blows().items():
        found = await struck(blow)
        lost += found["lost"]
        doubled += found["doubled"]
        values[f"{name}_sent_again"] = found["sent_again"]
        values[f"{name}_resumed_s"] = found["resumed_s"]
        values[f"{name}_late_s"] = found["late_s"]
    values = {"lost": lost, "doubled": doubled, **values}
    again = [f"{name}_sent_again" for name in blows()]
    marks = dict.fromkeys(again, "<= 0") | {
        "executor_sent_again": f"<= {SLOTS + FLUSHED}",
        "executor_resumed_s": f"<= {STALL_S:g}",
        "executor_late_s": f"<= {LATE_S:g}",
    }
    met = all(values[name] <= float(mark.removeprefix("<= ")) for name, mark in marks.items())
    return Figure(
        name="F8",
        title="crashes at half of 2,000 requests",
        values=values,
        mark={"lost": "0", "doubled": "0", **marks},
        met=met and not lost and not doubled,
    )


def blows() -> dict[str, Blow]:
    return {
        **{service: _kill(service) for service in SERVICES},
        "redis": _wipe,
        "broker_30": _lose_events,
    }


async def struck(blow: Blow) -> dict[str, int | float]:
    """Run a batch, strike in the middle, and look at what became of it."""
    async with stage(
        simulator={"ttft_ms": round(1000 * CALL_S), "slots": SLOTS},
        settings={"limits": {"start": SLOTS, "ceiling": SLOTS}, "sweep": {"stuck_s": 5}},
        speed_up=SPEED_UP,
        faults=True,
    ) as on:
        batch = await on.submit(chat_lines(LINES))
        batch = await on.halfway(batch, done=LINES // 2)
        struck_at = time.time()
        await blow(on)
        batch = await on.ended(batch, within_s=300)
        took_s = time.time() - struck_at
        return {
            **await outcome(on, batch, struck_at),
            "late_s": took_s - LINES / 2 * CALL_S / SLOTS,
        }


async def outcome(on: Stage, batch: Batch, struck_at: float) -> dict[str, int | float]:
    output, errors = await on.results(batch)
    times = Counter(line["custom_id"] for line in output + errors)
    sent = Counter(entry["digest"] for entry in await on.model.arrivals())
    later = [e["arrived_at"] for e in await on.model.arrivals() if e["arrived_at"] > struck_at]
    return {
        "lost": LINES - len(times) + len(errors),
        "doubled": sum(count - 1 for count in times.values()),
        "sent_again": sum(count - 1 for count in sent.values()),
        "resumed_s": longest_pause([struck_at, *sorted(later)]),
    }


def longest_pause(instants: list[float]) -> float:
    """The longest time without an arrival after the blow."""
    return max((after - before for before, after in pairwise(instants)), default=0.0)


def _kill(service: str) -> Blow:
    async def kill(on: Stage) -> None:
        if service == "janitor":  # it is there for a moment only
            async with asyncio.timeout(30):
                while not on.platform.pids(service):
                    await asyncio.sleep(0.02)
        with suppress(LookupError):  # at zero already: nothing to kill
            on.platform.kill(service)

    return kill


async def _wipe(on: Stage) -> None:
    async with Redis.from_url(on.platform.scratch_url) as redis:
        await redis.flushall()


async def _lose_events(on: Stage) -> None:
    await on.platform.set_faults(BrokerFaults(drop=0.3))
