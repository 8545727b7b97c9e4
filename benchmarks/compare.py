"""``make compare``: one batch through several systems on this machine, each alone in turn.

The naive loop, this gateway, and the rivals that are given. All send the same lines to the same
endpoint, which listens at a fixed port; rivals must be running and configured to send the model's
requests there. The order rotates from round to round. Prints a table and keeps it, with every
round, in ``benchmarks/results/compare.md`` and ``compare.json``. Exit 1 if a system has lost or
doubled a line, or has failed.

CPU and memory are those of the whole system: of all processes below the ids that ``--pids`` names
for a rival (gateway, database, Redis), and below ``batch-gateway up`` for this one.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import httpx
import uvloop

from benchmarks import figure, surroundings
from benchmarks.compared_systems import (
    Endpoint,
    NaiveLoop,
    Outcome,
    Rival,
    System,
    ThisGateway,
    Work,
    endpoint,
)
from benchmarks.figure import spelled
from benchmarks.recording_endpoint import MODEL

Rounds = Mapping[str, Sequence[Outcome | str]]  # by system; a text: why there is no outcome

TITLES = {
    "makespan_s": "create until completed, s",
    "efficiency": "ideal time / that time",
    "upload_s": "upload, s",
    "first_request_s": "create until the first request, s",
    "cpu_s_per_1000": "CPU seconds per 1,000 lines",
    "peak_mib": "peak memory, MiB",
    "lost": "lines lost",
    "doubled": "lines doubled",
    "failed": "lines failed",
    "sent_again": "requests sent again",
    "bytes_kept": "bodies sent byte for byte",
    "in_order": "output in input order",
}


async def compare(
    systems: Sequence[System], work: Work, rounds: int, to: Endpoint
) -> dict[str, list[Outcome | str]]:
    """Every system's outcomes, one for each round."""
    found: dict[str, list[Outcome | str]] = {system.name: [] for system in systems}
    with TemporaryDirectory(prefix="compare-") as folder:
        work.write(path := Path(folder) / "input.jsonl")
        for number in range(rounds):
            first = number % len(systems)
            for system in [*systems[first:], *systems[:first]]:
                await to.forget()
                try:
                    outcome: Outcome | str = await system.run(work, path, to)
                except (
                    RuntimeError,
                    TimeoutError,
                    LookupError,
                    ValueError,
                    httpx.HTTPError,
                ) as error:
                    outcome = f"{type(error).__name__}: {error}"
                found[system.name].append(outcome)
                print(f"round {number + 1}, {system.name}: {_short(outcome)}", flush=True)
    return found


def table(rounds: Rounds) -> list[str]:
    """Lines of a Markdown table: medians, and the lowest and highest where they differ."""
    lines = [f"| | {' | '.join(rounds)} |", "|---" * (len(rounds) + 1) + "|"]
    for field in fields(Outcome):
        cells = []
        for outcomes in rounds.values():
            values = [getattr(one, field.name) for one in outcomes if isinstance(one, Outcome)]
            cells.append(_cell([value for value in values if value is not None]))
        lines.append(f"| {TITLES[field.name]} | {' | '.join(cells)} |")
    for name, outcomes in rounds.items():
        lines += [f"\n{name} failed: {one}" for one in outcomes if isinstance(one, str)]
    return lines


def _cell(values: Sequence[float | bool]) -> str:
    if not values:
        return ""
    if isinstance(values[0], bool):
        return "yes" if all(values) else "no"
    middle, low, high = spelled(float(median(values))), min(values), max(values)
    if low == high:
        return middle
    return f"{middle} ({spelled(float(low))} to {spelled(float(high))})"


def _short(outcome: Outcome | str) -> str:
    if isinstance(outcome, str):
        return outcome
    return f"{outcome.makespan_s:.2f} s, {outcome.lost} lost, {outcome.doubled} doubled"


def sound(rounds: Rounds) -> bool:
    """Whether no system has lost or doubled a line, or has failed."""
    return all(
        isinstance(one, Outcome) and not one.lost and not one.doubled
        for outcomes in rounds.values()
        for one in outcomes
    )


async def keep(rounds: Rounds, work: Work) -> Path:
    """Write what came of it, with machine and versions."""
    machine = surroundings.machine()
    versions = await surroundings.versions(os.environ.get("METADATA_URL"))
    figure.RESULTS.mkdir(exist_ok=True)
    content = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": versions,
        "work": asdict(work),
        "systems": {
            name: [{"error": one} if isinstance(one, str) else asdict(one) for one in outcomes]
            for name, outcomes in rounds.items()
        },
    }
    (figure.RESULTS / "compare.json").write_text(json.dumps(content, indent=2) + "\n")
    told = {name.replace("_", " "): str(value) for name, value in asdict(work).items()}
    lines = ["# Comparison", "", *table(rounds), "", *surroundings.table(told), ""]
    lines += [*surroundings.table(machine), "", *surroundings.table(versions)]
    path = figure.RESULTS / "compare.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def rivals(named: str, pids: str, api_key: str) -> list[Rival]:
    """``"name=http://host:port/v1 ..."`` and ``"name=12,13 ..."``. Raises ValueError."""
    of_names: dict[str, list[int]] = {}
    for name, numbers in _pairs(pids):
        of_names[name] = [int(number) for number in numbers.split(",")]
    found = [
        Rival(
            name=name,
            base_url=f"{url.rstrip('/')}/",
            pids=of_names.pop(name, ()),
            api_key=api_key,
        )
        for name, url in _pairs(named)
    ]
    if of_names:
        raise ValueError(f"process ids for {', '.join(of_names)}, which is no rival")
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    found = []
    for word in text.split():
        name, separator, value = word.partition("=")
        if not separator or not name or not value:
            raise ValueError(f"{word!r} is not NAME=VALUE")
        found.append((name, value))
    return found


HOW = """\
The endpoint listens at {url}. Each rival must be running already, and
- send requests of the model {model} there: base URL {url}/v1, any API key,
- at most {calls} calls at once, and without limits of its own below that."""


async def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description=__doc__)
    parser.add_argument("--rivals", default="", help='"name=http://host:port/v1 ..."')
    parser.add_argument("--pids", default="", help='"name=12,13 ..." of processes to count')
    parser.add_argument("--lines", type=int, default=Work.lines)
    parser.add_argument("--latency-ms", type=float, default=Work.latency_ms)
    parser.add_argument("--body-bytes", type=int, default=Work.body_bytes)
    parser.add_argument("--calls", type=int, default=Work.calls, help="at once")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--port", type=int, default=8399, help="of the endpoint")
    given = parser.parse_args(words)
    try:
        found = rivals(given.rivals, given.pids, os.environ.get("RIVAL_API_KEY", "any"))
    except ValueError as error:
        parser.error(str(error))
    work = Work(
        lines=given.lines,
        latency_ms=given.latency_ms,
        body_bytes=given.body_bytes,
        calls=given.calls,
    )
    async with endpoint(given.port, work.latency_ms) as to:
        print(HOW.format(url=to.url, model=MODEL, calls=work.calls), flush=True)
        systems: list[System] = [NaiveLoop(), ThisGateway(), *found]
        rounds = await compare(systems, work, given.runs, to)
    print("\n".join(table(rounds)))
    print(f"kept in {await keep(rounds, work)}")
    return int(not sound(rounds))


if __name__ == "__main__":
    sys.exit(uvloop.run(main(sys.argv[1:])))
