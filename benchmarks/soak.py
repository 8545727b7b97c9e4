"""Measures the limit, interactive latency and batch progress during two hours of traffic in waves.

``make soak`` plays them and draws ``benchmarks/results/soak.png``. The traffic's waves of ten
minutes pass in thirty seconds; calls, scrapes and the controller are not hurried, so there are as
many changes as in two hours in six minutes. The same users come to an engine of their own in a
second scene beside it. Exits 1 when a line was answered twice or users waited much longer.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figure import RESULTS
from benchmarks.stage import percentile
from benchmarks.waves import Outcome, Scene, played

WAVE_S, SPEED_UP = 30.0, 20
PAIRS = 6  # of ten minutes each: two hours
MOST = 1.5  # users' p99 with batch work, against the same users alone


async def soak() -> int:
    alone, beside = await asyncio.gather(
        played(Scene(batch=False, wave_s=WAVE_S, waves=PAIRS, seed=3)),
        played(Scene(wave_s=WAVE_S, waves=PAIRS, seed=3)),
    )
    ratio = percentile(beside.ttft_s, 0.99) / percentile(alone.ttft_s, 0.99)
    path = draw(alone, beside, RESULTS / "soak.png")
    answered = len(beside.answered_s)
    twice = answered - beside.lines_answered
    print(
        f"{answered} batch answers, {twice} lines answered twice, {beside.aborted} calls aborted; "
        f"progress {beside.progress:.2f} of what users left; users' p99 {ratio:.2f} times that "
        f"without batch work\n{path}"
    )
    return int(ratio > MOST or twice > 0)


def draw(alone: Outcome, beside: Outcome, path: Path) -> Path:
    import matplotlib as mpl  # an extra: only this needs it

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(11, 9), sharex=True, layout="constrained")
    minutes = [SPEED_UP * sample.at_s / 60 for sample in beside.samples]
    slots, latency, progress = axes
    slots.fill_between(minutes, [s.users for s in beside.samples], alpha=0.3, label="users")
    slots.plot(minutes, [s.limit for s in beside.samples], lw=1, label="limit of the batch work")
    slots.plot(minutes, [s.in_flight for s in beside.samples], lw=0.8, label="batch calls")
    slots.set_ylabel("requests in the engine")
    for outcome, name in ((alone, "users alone"), (beside, "with batch work")):
        at, felt = _steps(outcome.felt)
        latency.plot(at, felt, lw=1, label=name)
    latency.set_ylabel("p95 to the first token, s")
    ends = sorted(beside.answered_s)
    progress.plot([SPEED_UP * at / 60 for at in ends], range(1, len(ends) + 1), label="answers")
    aborted = [sample.aborted for sample in beside.samples]
    progress.plot(minutes, aborted, lw=1, label="calls aborted")
    progress.set_ylabel("batch lines")
    progress.set_xlabel("minutes of traffic")
    for one in axes:
        one.legend(loc="upper left", fontsize="small")
        one.grid(alpha=0.3)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _steps(felt: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Minute of traffic and p95 of the users who came in each quarter of a wave."""
    step = WAVE_S / 4
    found: dict[int, list[float]] = {}
    for at, ttft in felt:
        found.setdefault(int(at / step), []).append(ttft)
    return (
        [SPEED_UP * (n + 0.5) * step / 60 for n in sorted(found)],
        [percentile(found[n], 0.95) for n in sorted(found)],
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(soak()))
