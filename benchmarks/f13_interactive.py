"""F13: the effect of batch work on interactive users, and the capacity that it uses.

The scene of ``benchmarks.waves``, in three settings: an engine whose metrics can be read, a router
that answers 429 to batch work when the engine is full and shows no metrics, and a plain engine
without either. For each brake there is a scene where it is alone, one without aborts, and one
without any brake: 24 calls whatever happens. All scenes are played side by side, with the same
users; they sleep most of the time. Takes about nine minutes, unless ``WAVES`` in the environment
says how many pairs of waves there are.
"""

import asyncio
import os
from collections.abc import Mapping

from benchmarks.figure import Figure, Value
from benchmarks.stage import percentile
from benchmarks.waves import Groups, Outcome, Scene, played

WAVES = int(os.environ.get("WAVES", "4"))
SEED = 2

PLAIN = {"metrics": False}
ROUTER = {"metrics": False, "shed_at": 32}
OBJECTIVE: Groups = {"inference": {"objective": "batch"}}


def _watching(**fields: bool) -> Groups:
    return {"watching": fields}


SCENES: Mapping[str, Scene] = {
    "alone": Scene(batch=False),
    "metrics": Scene(),
    "router": Scene(simulator=ROUTER, settings=OBJECTIVE),
    "plain": Scene(simulator=PLAIN),
    "metrics_without_aborts": Scene(settings=_watching(abort=False)),
    "plain_without_aborts": Scene(simulator=PLAIN, settings=_watching(abort=False)),
    "router_429_alone": Scene(
        simulator=ROUTER, settings={**OBJECTIVE, **_watching(metrics=False, probe=False)}
    ),
    "plain_latency_alone": Scene(simulator=PLAIN, settings=_watching(metrics=False, probe=False)),
    "fixed_24": Scene(
        settings={
            **_watching(metrics=False, probe=False),
            "limits": {"start": 24, "floor": 24, "ceiling": 24},
        }
    ),
}
MARKS = {"metrics": (1.10, 0.80), "router": (1.10, 0.80), "plain": (1.25, 0.75)}


async def measure() -> Figure:
    for scene in SCENES.values():
        scene.waves, scene.seed = WAVES, SEED
    outcomes = dict(zip(SCENES, await asyncio.gather(*map(played, SCENES.values())), strict=True))
    alone = percentile(outcomes["alone"].ttft_s, 0.99)
    values: dict[str, Value] = {"users": len(outcomes["alone"].ttft_s), "alone_p99_s": alone}
    mark = {}
    met = True
    for name, outcome in outcomes.items():
        if name == "alone":
            continue
        ratio = percentile(outcome.ttft_s, 0.99) / alone
        values |= _rows(name, ratio, outcome)
        if name in MARKS:
            most, least = MARKS[name]
            mark[f"{name}_ratio"] = f"<= {most}"
            mark[f"{name}_progress"] = f">= {least}"
            met = met and ratio <= most and outcome.progress >= least
    return Figure(
        name="F13",
        title="interactive protection: p99 to first token with batch / without; batch progress",
        values=values,
        mark=mark,
        met=met,
    )


def _rows(name: str, ratio: float, outcome: Outcome) -> dict[str, Value]:
    return {
        f"{name}_ratio": ratio,
        f"{name}_progress": outcome.progress,
        f"{name}_wasted": outcome.wasted_s / outcome.capacity_s,
        f"{name}_aborted": outcome.aborted,
        f"{name}_refused": outcome.refused,
    }
