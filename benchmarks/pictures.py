"""The pictures of the documentation: ``make pictures`` draws them anew in ``docs/pictures``.

``day.png`` is a day with one batch (``benchmarks.day``). ``interactive.png`` shows an engine that
interactive users and a batch share (the scenes of F13): who holds its slots, and how long users
wait for the first token with and without the batch. Both take about five minutes, on a machine
that is otherwise idle. ``python -m benchmarks.pictures trial`` plays the second in a minute and
draws it in ``benchmarks/results``: it shows that the drawing works, and measures nothing.
"""

import asyncio
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import uvloop

from benchmarks.day import day
from benchmarks.f13_interactive import SCENES
from benchmarks.figure import RESULTS
from benchmarks.stage import percentile
from benchmarks.waves import SLOTS, Outcome, Scene, played

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
WAVES, WAVE_S, SEED = 2, 60.0, 2
TRIAL_WAVE_S = 8.0
SHOWN = {
    "alone": "users alone",
    "metrics": "beside a batch",
    "fixed_24": "beside a batch without the gateway's brakes (24 calls, whatever happens)",
}


async def main(names: list[str]) -> int:
    PICTURES.mkdir(exist_ok=True)
    if "trial" in names:
        print(draw(await interactive(TRIAL_WAVE_S), RESULTS / "interactive.png"))
    if "interactive" in names:
        print(draw(await interactive(WAVE_S), PICTURES / "interactive.png"))
    if "day" in names:
        failed = await day()
        print(shutil.copy(RESULTS / "day.png", PICTURES / "day.png"))
        return failed
    return 0


async def interactive(wave_s: float) -> Mapping[str, Outcome]:
    """The same users in three scenes, played side by side."""
    scenes: list[Scene] = [SCENES[name] for name in SHOWN]
    for scene in scenes:
        scene.waves, scene.wave_s, scene.seed = WAVES, wave_s, SEED
    return dict(zip(SHOWN, await asyncio.gather(*map(played, scenes)), strict=True))


def draw(outcomes: Mapping[str, Outcome], path: Path) -> Path:
    import matplotlib as mpl  # an extra: only pictures need it

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (slots, waits) = pyplot.subplots(2, 1, figsize=(10, 6.5), layout="constrained")
    beside = outcomes["metrics"]
    seconds = [sample.at_s for sample in beside.samples]
    users = [min(SLOTS, sample.users) for sample in beside.samples]
    batch = [
        min(sample.in_flight, SLOTS - u) for sample, u in zip(beside.samples, users, strict=True)
    ]
    slots.stackplot(
        seconds, users, batch, labels=["users", "batch"], colors=["C0", "C1"], alpha=0.8
    )
    slots.set(xlabel="seconds", ylabel=f"slots of {SLOTS}", xlim=(0, seconds[-1]), ylim=(0, SLOTS))
    slots.legend(loc="upper left")
    slots.set_title(
        f"The batch used {beside.progress:.0%} of what users left; {beside.aborted} of its calls "
        "were given up for users and repeated",
        fontsize="medium",
    )
    for (name, outcome), style in zip(outcomes.items(), ("-", "--", ":"), strict=True):
        ordered = sorted(outcome.ttft_s)
        share = [(n + 1) / len(ordered) * 100 for n in range(len(ordered))]
        p99 = percentile(outcome.ttft_s, 0.99)
        waits.plot(ordered, share, style, label=f"{SHOWN[name]}: p99 {p99:.2f} s")
    waits.set(xlabel="seconds to the first token (logarithmic)", ylabel="% of users", xscale="log")
    waits.legend(loc="lower right")
    waits.grid(alpha=0.3)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
    return path


if __name__ == "__main__":
    sys.exit(uvloop.run(main(sys.argv[1:] or ["interactive", "day"])))
